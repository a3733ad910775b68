"""Brings the state of an optimizer in line when parameters move.

Optimizer slots (momentum, second moments) belong to the values that were trained; an optimizer's
moving averages (`use_ema`) would restore the old values. `follow` writes slots and averages through
the caller's writer, so that `undo` restores them with the parameters.
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
    """Writes optimizer state that depends on moved values; returns a report line a kind.

    Args:
        model: the recipient; nothing is written if it has no optimizer with state.
        moved: id of the keras.Variable -> its new value.
        policy: "zero": slots of moved variables become zero. "keep": they stay. "drop": all
            state but the learning rate becomes zero, as if training had not begun.
        write: called with a key, a variable and its new value.
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
    """Returns the optimizer's variables by the keys that `follow` passes to `write`."""
    optimizer = _optimizer(model)
    if optimizer is None:
        return {}
    return {f"{LAYER}/{i}": v for i, v in enumerate(optimizer.variables)}


def _optimizer(model: keras.Model):
    """Returns the built optimizer of the model, if there is one."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return None
    return optimizer


def _inner(optimizer):
    return getattr(optimizer, "inner_optimizer", optimizer)  # of loss scaling


def _keys(optimizer) -> dict[int, str]:
    return {id(v): f"{LAYER}/{i}" for i, v in enumerate(optimizer.variables)}


def _averages(optimizer) -> Iterator[tuple[str, keras.Variable, keras.Variable]]:
    """Yields (key, variable, its moving average) of an optimizer with `use_ema`."""
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
    """Yields (key, slot) for the slots of the moved variables.

    Keras has no table of slots; `add_optimizer_variables` makes an attribute for each kind: a
    list as long as the list of trained variables.
    """
    inner, keys = _inner(optimizer), _keys(optimizer)
    trained = inner._trainable_variables
    indices = [i for i, variable in enumerate(trained) if id(variable) in moved]
    for name, value in vars(inner).items():
        if name in ("_trainable_variables", "_model_variables_moving_average"):
            continue
        if isinstance(value, list) and len(value) == len(trained):
            for i in indices:
                if id(value[i]) in keys and value[i].shape == trained[i].shape:
                    yield keys[id(value[i])], value[i]


def _dropped(optimizer) -> Iterator[tuple[str, keras.Variable]]:
    """Yields (key, variable) for all state but averages, learning rate and loss scale."""
    inner, keys = _inner(optimizer), _keys(optimizer)
    excepted = {id(shadow) for _, _, shadow in _averages(optimizer)}
    excepted.add(id(getattr(inner, "_learning_rate", None)))
    for variable in optimizer.variables:
        if id(variable) not in excepted and variable.trainable is not None:
            if inner is not optimizer and id(variable) not in map(id, inner.variables):
                continue  # the loss scale
            yield keys[id(variable)], variable
