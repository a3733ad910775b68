"""Moves parameters between live Keras models: plan, apply, undo.

    plan = transplant.plan(donor, recipient, roles="affine", layers=["encoder_*"])
    displaced = transplant.apply(plan, donor, recipient)
    transplant.undo(displaced, recipient)  # bit for bit as before

`plan` decides and writes nothing; `apply` decides nothing and is all or nothing. A donor is a
model or the values of one (`values`), so that controls need no model of their own.
"""

from collections.abc import Iterable, Iterator, Mapping

import keras
import numpy as np

from tfreuse import plan as plan_module
from tfreuse import roles as roles_module
from tfreuse.errors import InputError
from tfreuse.plan import Plan, Variable

Values = Mapping[str, np.ndarray]  # variable path -> array


def index(model: keras.Model) -> tuple[Variable, ...]:
    """Every array of the model's layers, nested models included, in the order of the layers.

    Raises:
        InputError: the model has a layer without a fixed set of variables (not built).
    """
    found = []
    for path, layer in _layers(model):
        config = layer.get_config()
        roles = roles_module.layer_roles(type(layer).__name__, config)
        settings = roles_module.layer_settings(config)
        arrays = _own_weights(layer)
        if roles is not None and len(roles) != len(arrays):
            roles = None  # a subclass keeps more than its class tells: never guess
        for position, array in enumerate(arrays):
            found.append(
                Variable(
                    path=f"{path}/{position}",
                    layer=layer.name,
                    class_name=type(layer).__name__,
                    role=roles[position] if roles else None,
                    position=position,
                    shape=tuple(array.shape),
                    dtype=str(array.dtype),
                    settings=settings,
                )
            )
    return tuple(found)


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies of the model's arrays by variable path."""
    return {
        f"{path}/{position}": array
        for path, layer in _layers(model)
        for position, array in enumerate(_get(layer))
    }


def plan(
    donor: keras.Model,
    recipient: keras.Model,
    *,
    roles: str | Iterable[str] = "all",
    layers: Iterable[str] = ("*",),
) -> Plan:
    """What would move from donor to recipient; see `tfreuse.plan.make`."""
    return plan_module.make(index(donor), index(recipient), roles=roles, layers=layers)


def apply(plan: Plan, donor: keras.Model | Values, recipient: keras.Model) -> Values:
    """Carries out the plan, all or nothing; returns what it displaced, for `undo`.

    Raises:
        InputError: the plan has problems, or a value of the donor is of another shape than
            planned, not finite, or a variance below zero. Nothing has changed then.
    """
    plan.check()
    source = donor if isinstance(donor, Mapping) else values(donor)
    moved = {}
    for entry in plan.copies:
        value = source.get(entry.donor.path)
        _check(entry, value)
        moved[entry.recipient.path] = value
    return _write(recipient, moved)


def undo(displaced: Values, recipient: keras.Model) -> None:
    """Puts back what `apply` displaced, bit for bit."""
    _write(recipient, displaced)


def _check(entry: plan_module.Entry, value: np.ndarray | None) -> None:
    if value is None or value.shape != entry.recipient.shape:
        came = "nothing" if value is None else f"shape {value.shape}"
        raise InputError(
            f"the donor changed since the plan was made: {entry.donor} should have shape "
            f"{entry.recipient.shape}, has {came}. Make the plan again."
        )
    if not np.isfinite(value).all():
        raise InputError(f"donor's {entry.donor} has values that are not finite.")
    if entry.donor.role == "moving_variance" and (value < 0).any():
        raise InputError(f"donor's {entry.donor} has a variance below zero.")


def _write(recipient: keras.Model, moved: Values) -> dict[str, np.ndarray]:
    """Writes arrays by variable path and returns the old ones; rolls back on any failure."""
    displaced: dict[str, np.ndarray] = {}
    by_layer: dict[str, dict[int, np.ndarray]] = {}
    for path, value in moved.items():
        layer, _, position = path.rpartition("/")
        by_layer.setdefault(layer, {})[int(position)] = value
    layers = {path: layer for path, layer in _layers(recipient) if path in by_layer}
    absent = by_layer.keys() - layers.keys()
    if absent:
        raise InputError(f"the recipient has no layer {min(absent)!r}.")
    old = {path: _get(layer) for path, layer in layers.items()}
    try:
        for path, layer in layers.items():
            new = list(old[path])
            for position, value in by_layer[path].items():
                displaced[f"{path}/{position}"] = new[position]
                new[position] = value
            _set(layer, new)
    except BaseException:  # Ctrl-C too must not leave half a transplant
        for path, layer in layers.items():
            _set(layer, old[path])
        raise
    return displaced


def _layers(
    model: keras.Model, prefix: str = ""
) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Layers that hold arrays of their own, with their paths; nested models are entered.

    A layer that is used twice, or shared between nested models, comes once.
    """
    seen: set[int] = set()

    def walk(container, prefix):
        for layer in container._layers:
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            path = f"{prefix}{layer.name}"
            if _own_weights(layer):
                yield path, layer
            yield from walk(layer, f"{path}/")

    yield from walk(model, prefix)


def _own_weights(layer: keras.layers.Layer) -> list:
    """The layer's own arrays in the order of `get_weights`, without its sub-layers'."""
    below = {id(v) for sub in layer._layers for v in sub.weights}
    return [v for v in layer.weights if id(v) not in below]


def _get(layer: keras.layers.Layer) -> list[np.ndarray]:
    if not layer._layers:
        return layer.get_weights()
    return [np.asarray(v) for v in _own_weights(layer)]


def _set(layer: keras.layers.Layer, arrays: list[np.ndarray]) -> None:
    if not layer._layers:
        layer.set_weights(arrays)
        return
    for variable, array in zip(_own_weights(layer), arrays, strict=True):
        variable.assign(array)
