"""Findings that only a live model has: shared variables, unbuilt layers, training state."""

from collections import Counter
from collections.abc import Iterator

import keras

from tfreuse.errors import printable
from tfreuse.transplant import live
from tfreuse.transplant.inspection import Finding
from tfreuse.transplant.live import LiveModel


def findings(model: LiveModel) -> Iterator[Finding]:
    """Yields the findings, in the order of the checks below."""
    for check in (_tied, _names, _unbuilt, _saving, _special, _training):
        yield from check(model.model)


def _tied(model: keras.Model) -> Iterator[Finding]:
    owners: dict[int, list[str]] = {}
    for path, layer in live.layers(model):
        for variable in live.own_weights(layer):
            owners.setdefault(id(variable), []).append(path)
    for paths in owners.values():
        if len(paths) > 1:
            owners_before = ", ".join(map(printable, paths[:-1]))
            yield Finding("shared", paths[-1], f"has a variable of {owners_before}")


def _names(model: keras.Model) -> Iterator[Finding]:
    keras_paths = Counter(weight.path for weight in model.weights)
    for path, count in keras_paths.items():
        if count > 1:
            yield Finding(
                "duplicate path", path, f"Keras gives it to {count} variables"
            )
    for path, _ in live.layers(model):
        if "#" in path.rpartition("/")[2]:
            consequence = "another layer beside it has this name"
            yield Finding("duplicate name", path, consequence)


def _unbuilt(model: keras.Model) -> Iterator[Finding]:
    for path, layer in live.every_layer(model):
        if not layer.built:
            consequence = "has no variables yet: call the model on data first"
            yield Finding("unbuilt", path, consequence)


def _saving(model: keras.Model) -> Iterator[Finding]:
    for path, layer in live.every_layer(model):
        method = type(layer).save_own_variables
        if not method.__module__.startswith("keras."):
            consequence = (
                f"{type(layer).__name__} saves its variables its own way: a file of it may "
                "hold others"
            )
            yield Finding("saving", path, consequence)


def _special(model: keras.Model) -> Iterator[Finding]:
    for path, layer in live.every_layer(model):
        mode = getattr(layer, "quantization_mode", None)
        if mode is not None:
            yield Finding(
                "quantized", path, f"{mode}: its arrays are not moved by role"
            )
        if getattr(layer, "lora_enabled", False):
            consequence = "its kernel is a sum of parts: merge before moving it"
            yield Finding("LoRA", path, consequence)


def _training(model: keras.Model) -> Iterator[Finding]:
    optimizer = getattr(model, "optimizer", None)
    if getattr(getattr(optimizer, "inner_optimizer", optimizer), "use_ema", False):
        consequence = (
            "keeps moving averages of weights: apply overwrites those that move"
        )
        yield Finding("averages", optimizer.name, consequence)
    for path, layer in live.every_layer(model):
        if not isinstance(layer, keras.layers.BatchNormalization) or not layer.built:
            continue
        if not layer.trainable:
            consequence = (
                "is frozen: it normalises with its stored statistics in training too"
            )
            yield Finding("frozen", path, consequence)
        elif any(w is not None and not w.trainable for w in (layer.gamma, layer.beta)):
            consequence = (
                "has frozen gamma or beta; its statistics still change in training"
            )
            yield Finding("frozen", path, consequence)
