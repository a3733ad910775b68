"""Moves parameters between live Keras models: plan, apply, undo.

    plan = transplant.plan(donor, recipient, roles="affine", layers=["encoder_*"])
    print(plan.table())
    displaced = transplant.apply(plan, donor, recipient)
    transplant.undo(displaced, recipient)  # bit for bit as before

`plan` decides and writes nothing; `apply` decides nothing and is all or nothing. A donor is a
model or the values of one (`values`), so that controls need no model of their own.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfreuse import alignment
from tfreuse import plan as plan_module
from tfreuse.errors import InputError, printable
from tfreuse.plan import Plan
from tfreuse.plan.variables import by_layer
from tfreuse.transplant import live, state
from tfreuse.transplant.doctor import examine
from tfreuse.transplant.live import edges, index

__all__ = [
    "Displaced",
    "aligned",
    "apply",
    "compare",
    "edges",
    "examine",
    "index",
    "plan",
    "reader",
    "ties",
    "undo",
    "values",
    "variables",
]

_LOGGER = logging.getLogger(__name__)

Array = np.ndarray | tf.Tensor
Values = Mapping[str, Array]  # by variable path


class Displaced(dict[str, Array]):
    """What `apply` displaced, by variable path; `report` says what else had to follow.

    The values are tensors that cost no copy until the recipient changes again;
    numpy.asarray makes an array of each.
    """

    report: tuple[str, ...] = ()


def reader(model: keras.Model) -> Callable[[plan_module.Variable], np.ndarray]:
    """Reads one variable of the model at a time, for `tfreuse.diff.rows`."""
    held = variables(model)
    return lambda variable: live.read(held[variable.path])


def variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The model's arrays themselves, by variable path."""
    return {
        f"{path}/{position}": variable
        for path, layer in live.layers(model)
        for position, variable in enumerate(live.own_weights(layer))
    }


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies of the model's arrays by variable path."""
    return {path: live.read(held) for path, held in variables(model).items()}


def plan(
    donor: keras.Model,
    recipient: keras.Model,
    *,
    roles: str | Iterable[str] = "all",
    layers: Iterable[str] = ("*",),
    stages: Iterable[str] = (),
    depth: str | Sequence[float] | None = None,
    mapping: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    allow_missing: Iterable[str] = (),
    allow_unused: Iterable[str] = (),
    adapters: Iterable[str] = (),
) -> Plan:
    """What would move from donor to recipient; see `tfreuse.plan.make`."""
    return plan_module.make(
        index(donor),
        index(recipient),
        roles=roles,
        layers=layers,
        stages=stages,
        depth=depth,
        mapping=mapping,
        donor_edges=edges(donor),
        recipient_edges=edges(recipient),
        allow_missing=allow_missing,
        allow_unused=allow_unused,
        adapters=adapters,
    )


def compare(plan: Plan, donor: keras.Model | Values, recipient: keras.Model) -> Plan:
    """The plan with SAME for values that are equal, bit for bit, already."""
    new = _adapted(plan, donor, recipient)
    old = _variables(recipient, new)
    return plan.compared(
        lambda e: (
            live.view(new[e.recipient.path]).tobytes()
            == live.read(old[e.recipient.path]).tobytes()
        )
    )


def apply(
    plan: Plan,
    donor: keras.Model | Values,
    recipient: keras.Model,
    *,
    optimizer: str = "zero",
) -> Displaced:
    """Carries out the plan, all or nothing; returns what it displaced, for `undo`.

    Args:
        plan: what `plan` made, for these two.
        donor: a model, or arrays by variable path.
        recipient: changed in place; compiled functions see the new values.
        optimizer: what becomes of a compiled recipient's optimizer state: "zero": momentum and
            moments of moved variables start again, since they belong to the old values;
            "keep": they stay; "drop": all state starts again. Moving averages of weights
            (`use_ema`) are overwritten in any case, or they would undo the transplant.

    Raises:
        InputError: the plan has problems, or a value of the donor is of another shape or dtype
            than planned, not finite, or a variance below zero. Nothing has changed then.
    """
    plan.check()
    state.check_policy(optimizer)
    new = _adapted(plan, donor, recipient)
    variables = _variables(recipient, new)
    moved = {id(variables[path]): value for path, value in new.items()}
    writes = [(path, variables[path], value) for path, value in new.items()]
    report = state.follow(
        recipient, moved, optimizer, lambda *write: writes.append(write)
    )
    return _write(recipient, writes, report)


def undo(displaced: Values, recipient: keras.Model) -> None:
    """Puts back what `apply` displaced, bit for bit, all or nothing."""
    variables = _variables(recipient, displaced)
    _write(recipient, [(path, variables[path], v) for path, v in displaced.items()])


def ties(model: keras.Model) -> alignment.Ties:
    """Which axes of the model's variables share an order; see `tfreuse.alignment`.

    Raises:
        InputError: the model is no graph of layers, or computes with channels first.
    """
    graph = live.calls(model)
    if graph is None:
        raise InputError(
            f"model {printable(model.name)!r} is no graph of layers (it is subclassed); its "
            "channels cannot be aligned."
        )
    return alignment.tie(*graph, by_layer(index(model)))


def aligned(
    plan: Plan, donor: keras.Model, recipient: keras.Model
) -> dict[str, np.ndarray]:
    """The donor's values with channels in the order that fits the recipient's best.

    All that belongs together is compared, whatever the plan moves; the donor would compute
    the same with them.

    Raises:
        InputError: the donor is no graph of layers.
    """
    if isinstance(donor, Mapping):
        raise InputError(
            "the adapter align needs the donor's graph; give the model, not its values."
        )
    pairs = plan_module.make(
        index(donor),
        index(recipient),
        mapping=plan.mapping,
        donor_edges=edges(donor),
        recipient_edges=edges(recipient),
    ).copies
    ours = _variables(recipient, [entry.recipient.path for entry in pairs])
    reference = {e.donor.path: live.read(ours[e.recipient.path]) for e in pairs}
    groups, theirs = ties(donor), values(donor)
    return alignment.permute(groups, theirs, alignment.match(groups, reference, theirs))


def _aligns(plan: Plan) -> bool:
    return any("align" in entry.adapters for entry in plan.copies)


def _adapted(
    plan: Plan, donor: keras.Model | Values, recipient: keras.Model
) -> dict[str, Array]:
    """Checked values to write, by the recipient's variable path.

    A live donor's values are shared, not copied: 124 MB move in the time of a memcpy.
    """
    sources = [entry.donor.path for entry in plan.copies]
    given = donor if isinstance(donor, Mapping) else _variables(donor, sources)
    in_order = aligned(plan, donor, recipient) if _aligns(plan) else {}
    old = _variables(recipient, [e.recipient.path for e in plan.copies if e.adapters])
    new = {}
    for entry in plan.copies:
        value, want = given.get(entry.donor.path), entry.recipient
        if isinstance(value, keras.Variable):
            value = live.snapshot(value)
        _check(entry.donor, value)
        if entry.adapters:
            present = live.read(old[want.path])
            value = live.view(value)
            names = [name for name in entry.adapters if name != "align"]
            if len(names) < len(entry.adapters):
                value = in_order[entry.donor.path]
            value = plan_module.adapt(names, value, present, want)
        new[want.path] = value
    return new


def _check(planned: plan_module.Variable, value: Array | None) -> None:
    came = None if value is None else live.spec(value)
    if came != (planned.shape, planned.dtype):
        raise InputError(
            f"the donor changed since the plan was made: {planned} should be "
            f"{planned.dtype} {planned.shape}, is {came or 'not there'}. Make the plan again."
        )
    fault = live.unsound(value, planned.role)
    if fault:
        raise InputError(f"donor's {planned} has {fault}.")


def _variables(model: keras.Model, paths: Iterable[str]) -> dict[str, keras.Variable]:
    """The model's variables at the paths, looking at no other layer's arrays.

    Raises:
        InputError: the model has no such layer or variable.
    """
    found: dict[str, keras.Variable] = {}
    optimizer = None
    weights: dict[str, list[keras.Variable]] = {}
    for path in paths:
        place, _, position = path.rpartition("/")
        if place == "optimizer":
            optimizer = optimizer or state.optimizer_variables(model)
            arrays = list(optimizer.values())
        else:
            if place not in weights:
                weights[place] = live.own_weights(live.find_layer(model, place))
            arrays = weights[place]
        if int(position) >= len(arrays):
            raise InputError(f"the model has no variable {printable(path)!r}.")
        found[path] = arrays[int(position)]
    return found


def _write(
    model: keras.Model,
    writes: Iterable[tuple[str, keras.Variable, Array]],
    report: tuple[str, ...] = (),
) -> Displaced:
    """Writes values and returns the old ones; rolls back on any failure."""
    writes = list(writes)
    for path, variable, value in writes:  # before the first write
        if live.spec(variable) != live.spec(value):
            raise InputError(
                f"the recipient changed since the plan was made: {printable(path)} is "
                f"{variable.dtype} {tuple(variable.shape)}. Make the plan again."
            )
    displaced = Displaced(
        {path: live.snapshot(variable) for path, variable, _ in writes}
    )
    layers = [
        live.find_layer(model, path)
        for path in dict.fromkeys(path.rpartition("/")[0] for path, _, _ in writes)
        if path != "optimizer"
    ]
    try:
        for _, variable, value in writes:
            live.assign(variable, value)
        finalized = state.finalize(layers)
        if finalized:
            report = (*report, f"{finalized} Normalization layers recomputed")
        displaced.report = report
        for line in report:
            _LOGGER.info("transplant: %s", line)
        return displaced
    except BaseException:  # Ctrl-C too must not leave half a transplant
        _restore([(variable, displaced[path]) for path, variable, _ in writes])
        state.finalize(layers)
        raise


def _restore(old: list[tuple[keras.Variable, Array]]) -> None:
    """Puts values back; a second Ctrl-C waits until all are."""
    interrupted = None
    for variable, value in old:
        while True:
            try:
                live.assign(variable, value)
                break
            except KeyboardInterrupt as error:
                interrupted = error
    if interrupted is not None:
        raise interrupted
