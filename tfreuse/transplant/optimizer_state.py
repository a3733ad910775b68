"""What hangs on parameters and must follow when they move.

Optimizer slots (momentum, second moments) belong to the values that were trained; an optimizer's
moving averages (`use_ema`) would put the old values back; a Normalization layer computes with
constants made from its arrays. `follow` brings all three in line, through one writer, so that
it is undone with the rest.
"""

from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np

from tfreuse.errors import InputError

POLICIES = ("zero", "keep", "drop")
Write = Callable[[str, keras.Variable, np.ndarray], None]
LAYER = (
    "optimizer"  # stands for a layer's path in the keys of displaced optimizer state
)


def check_policy(policy: str) -> None:
    """Raises InputError unless `policy` is one of POLICIES."""
    if policy not in POLICIES:
        raise InputError(
            f"optimizer takes one of {', '.join(POLICIES)}; got {policy!r}."
        )


def follow(
    model: keras.Model,
    moved: Mapping[int, np.ndarray],
    policy: str,
    write: Write,
) -> tuple[str, ...]:
    """Writes what must follow the moved values; returns one line for each kind.

    Args:
        model: the recipient; without an optimizer that has state nothing is done.
        moved: id of the keras.Variable -> its new value.
        policy: "zero": slots of moved variables become zero. "keep": they stay. "drop": all
            state but the learning rate becomes zero, as if training had not begun.
        write: takes a key, a variable and its new value.
    """
    optimizer = _optimizer(model)
    if optimizer is None or not moved:
        return ()
    report = []
    averages = 0
    for key, variable, shadow in _averages(optimizer):
        if id(variable) in moved:
            write(key, shadow, moved[id(variable)])
            averages += 1
    if averages:
        report.append(f"{averages} moving averages of the optimizer follow")
    reset = _dropped(optimizer) if policy == "drop" else _slots(optimizer, moved)
    if policy != "keep":
        count = 0
        for key, slot in reset:
            write(key, slot, np.zeros(slot.shape, slot.dtype))
            count += 1
        if count:
            report.append(f"{count} optimizer slots set to zero ({policy})")
    return tuple(report)


def variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The optimizer's variables by the keys that `follow` writes with."""
    optimizer = _optimizer(model)
    if optimizer is None:
        return {}
    return {f"{LAYER}/{i}": v for i, v in enumerate(optimizer.variables)}


def finalize(layers: list[keras.layers.Layer]) -> int:
    """Recomputes what layers derive from their arrays; how many did."""
    derived = [
        layer for layer in layers if isinstance(layer, keras.layers.Normalization)
    ]
    for layer in derived:
        layer.finalize_state()
    return len(derived)


def _optimizer(model: keras.Model):
    """The built optimizer that updates the model, if there is one."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return None
    return optimizer


def _inner(optimizer):
    return getattr(optimizer, "inner_optimizer", optimizer)  # of loss scaling


def _keys(optimizer) -> dict[int, str]:
    return {id(v): f"{LAYER}/{i}" for i, v in enumerate(optimizer.variables)}


def _averages(optimizer) -> Iterator[tuple[str, keras.Variable, keras.Variable]]:
    """(key, variable, its moving average) of an optimizer that keeps averages."""
    inner, keys = _inner(optimizer), _keys(optimizer)
    if getattr(inner, "use_ema", False):
        pairs = zip(
            inner._trainable_variables,
            inner._model_variables_moving_average,
            strict=True,
        )
        for variable, shadow in pairs:
            yield keys[id(shadow)], variable, shadow


def _slots(optimizer, moved: Mapping) -> Iterator[tuple[str, keras.Variable]]:
    """Slots of the moved variables: every list of variables as long as the trained ones.

    Keras keeps no table of them; `add_optimizer_variables` makes such a list for each kind.
    """
    inner, keys = _inner(optimizer), _keys(optimizer)
    trained = inner._trainable_variables
    places = [i for i, variable in enumerate(trained) if id(variable) in moved]
    for name, value in vars(inner).items():
        if name in ("_trainable_variables", "_model_variables_moving_average"):
            continue
        if isinstance(value, list) and len(value) == len(trained):
            for place in places:
                if (
                    id(value[place]) in keys
                    and value[place].shape == trained[place].shape
                ):
                    yield keys[id(value[place])], value[place]


def _dropped(optimizer) -> Iterator[tuple[str, keras.Variable]]:
    inner, keys = _inner(optimizer), _keys(optimizer)
    kept = {id(shadow) for _, _, shadow in _averages(optimizer)}
    kept.add(id(getattr(inner, "_learning_rate", None)))
    for variable in optimizer.variables:
        if id(variable) not in kept and variable.trainable is not None:
            if inner is not optimizer and id(variable) not in map(id, inner.variables):
                continue  # the loss scale
            yield keys[id(variable)], variable
