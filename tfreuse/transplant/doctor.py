"""What in a live model can make a transplant, or a saved file, mean something else.

for finding in examine(model):
    print(finding)   # "shared: twice: called 2 times: what moves, moves for all calls"
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import keras
import numpy as np

from tfreuse.errors import printable
from tfreuse.transplant import live


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing to know: its kind, the layer or variable, and what follows from it."""

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {printable(self.where)}: {self.what}"


def examine(model: keras.Model) -> tuple[Finding, ...]:
    """All findings, in the order of the kinds below; none: nothing is unusual."""
    checks = (
        _shared,
        _names,
        _unbuilt,
        _saving,
        _special,
        _unknown,
        _values,
        _training,
    )
    return tuple(
        Finding(*found) for check in checks for found in check(model, live.index(model))
    )


def _shared(model, index) -> Iterator[tuple[str, str, str]]:
    graph = live.calls(model)
    if graph is None:
        yield (
            "graph",
            model.name,
            "is no graph of layers: pairing is by name or map only",
        )
    held = {variable.layer_path for variable in index}
    called = Counter(call.path for call in graph[0]) if graph else Counter()
    for path, count in called.items():
        if count > 1 and path in held:
            yield (
                "shared",
                path,
                f"called {count} times: what moves, moves for all calls",
            )
    owners: dict[int, list[str]] = {}
    for path, layer in live.layers(model):
        for variable in live.own_weights(layer):
            owners.setdefault(id(variable), []).append(path)
    for paths in owners.values():
        if len(paths) > 1:
            what = f"shares a variable with {', '.join(map(printable, paths[:-1]))}"
            yield "shared", paths[-1], what


def _names(model, index) -> Iterator[tuple[str, str, str]]:
    keras_paths = Counter(weight.path for weight in model.weights)
    for path, count in keras_paths.items():
        if count > 1:
            yield "duplicate path", path, f"Keras gives it to {count} variables"
    for path, _ in live.layers(model):
        if "#" in path.rpartition("/")[2]:
            yield "duplicate name", path, "another layer beside it has this name"


def _unbuilt(model, index) -> Iterator[tuple[str, str, str]]:
    for path, layer in live.every_layer(model):
        if not layer.built:
            yield "unbuilt", path, "has no variables yet: call the model on data first"


def _saving(model, index) -> Iterator[tuple[str, str, str]]:
    for path, layer in live.every_layer(model):
        method = type(layer).save_own_variables
        if not method.__module__.startswith("keras."):
            what = f"{type(layer).__name__} saves its variables its own way"
            yield "saving", path, f"{what}: a file of it may hold others"


def _special(model, index) -> Iterator[tuple[str, str, str]]:
    for path, layer in live.every_layer(model):
        mode = getattr(layer, "quantization_mode", None)
        if mode is not None:
            yield "quantized", path, f"{mode}: its arrays are not moved by role"
        if getattr(layer, "lora_enabled", False):
            yield "LoRA", path, "its kernel is a sum of parts: merge before moving it"


def _unknown(model, index) -> Iterator[tuple[str, str, str]]:
    for variable in index:
        if variable.role is None and variable.position == 0:
            what = f"the roles of a {printable(variable.class_name)} are not known"
            yield "unknown class", variable.layer_path, what


def _values(model, index) -> Iterator[tuple[str, str, str]]:
    layers = dict(live.layers(model))
    for variable in index:
        array = live.own_weights(layers[variable.layer_path])[variable.position]
        value = live.read(array)
        if value.dtype.kind in "fV" and not np.isfinite(value).all():
            yield "not finite", variable.path, "cannot be a donor"
        elif variable.role == "moving_variance" and (value < 0).any():
            yield "negative variance", variable.path, "cannot be a donor"


def _training(model, index) -> Iterator[tuple[str, str, str]]:
    optimizer = getattr(model, "optimizer", None)
    if getattr(getattr(optimizer, "inner_optimizer", optimizer), "use_ema", False):
        what = "keeps moving averages of weights: apply overwrites those that move"
        yield "averages", optimizer.name, what
    for path, layer in live.every_layer(model):
        if not isinstance(layer, keras.layers.BatchNormalization) or not layer.built:
            continue
        if not layer.trainable:
            what = "is frozen: it normalises with its stored statistics in training too"
            yield "frozen", path, what
        elif any(w is not None and not w.trainable for w in (layer.gamma, layer.beta)):
            what = "has frozen gamma or beta; its statistics still change in training"
            yield "frozen", path, what
