"""Writes a transplant into a live model in place, all or nothing."""

import logging
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse.checkpoints import Checkpoint
from tfreuse.errors import InputError, printable
from tfreuse.plan import Plan, Variable, soundness
from tfreuse.transplant import derived, live, loading, optimizer_state
from tfreuse.transplant.applied import Displaced
from tfreuse.transplant.live import LiveModel
from tfreuse.transplant.moves import Moves
from tfreuse.transplant.opening import OpenModel

_LOGGER = logging.getLogger(__name__)

Array = np.ndarray | tf.Tensor


def apply(
    plan: Plan,
    donor: OpenModel,
    recipient: LiveModel,
    *,
    optimizer: str,
    dry_run: bool = False,
) -> Displaced:
    """Carries out a plan in a live recipient; see `tfreuse.transplant.apply`."""
    plan.check()
    optimizer_state.check_policy(optimizer)
    values = _values(plan, donor, recipient)
    arrays = {path: recipient.array(path) for path in values}
    new = {id(arrays[path]): value for path, value in values.items()}
    writes = [(path, arrays[path], value) for path, value in values.items()]
    report = optimizer_state.follow(
        recipient.model, new, optimizer, lambda *write: writes.append(write)
    )
    _check(writes)
    if dry_run:
        return Displaced()
    return _write(recipient.model, writes, report)


def undo(displaced: Mapping[str, Array], model: keras.Model) -> None:
    """Assigns the displaced values again, bit for bit, all or nothing.

    Raises:
        InputError: they were displaced from another model, or the model has changed.
    """
    recipient = LiveModel(model)
    origin = displaced.model if isinstance(displaced, Displaced) else None
    if origin is not None and origin() is not model:
        raise InputError(
            f"these values were displaced from another model than {recipient.name}; give the "
            "recipient that apply changed."
        )
    writes = [(path, recipient.array(path), v) for path, v in displaced.items()]
    _check(writes)
    _write(model, writes)


def _values(plan: Plan, donor: OpenModel, recipient: LiveModel) -> dict[str, Array]:
    """Returns sound values to write, by the recipient's variable path.

    A live donor's values are shared, not copied: 124 MB move in the time of a memcpy.
    """
    moves = Moves(plan, donor, recipient)
    moves.check(adapted_only=True)
    plain = _plain_values(donor, [e.donor for e in plan.copies if not e.adapters])
    values: dict[str, Array] = {}
    for entry in plan.copies:
        variable = entry.recipient
        if entry.adapters:
            value = moves.adapted(entry)
        else:
            value = plain[entry.donor.path]
        pieces = soundness.pieces_of(live.view(value))
        soundness.refuse(variable, soundness.first_fault(pieces, variable.role))
        values[variable.path] = value
    return values


def _plain_values(donor: Any, variables: Iterable[Variable]) -> dict[str, Array]:
    """Returns the donor's values by its variable path, without a copy where possible."""
    if isinstance(donor, Checkpoint):
        return loading.values(donor, variables)
    return {variable.path: donor.value(variable) for variable in variables}


def _check(writes: Iterable[tuple[str, keras.Variable, Array]]) -> None:
    """Raises InputError if a variable has another shape or dtype than its new value."""
    for path, variable, value in writes:
        if live.spec(variable) != live.spec(value):
            raise InputError(
                f"the recipient changed since the plan was made: {printable(path)} is "
                f"{variable.dtype} {tuple(variable.shape)}. Make the plan again."
            )


def _write(
    model: keras.Model,
    writes: Iterable[tuple[str, keras.Variable, Array]],
    report: tuple[str, ...] = (),
) -> Displaced:
    """Writes values and returns the old ones; rolls back on any failure."""
    displaced = Displaced(
        {path: live.snapshot(variable) for path, variable, _ in writes}
    )
    layers = [
        live.find_layer(model, path)
        for path in dict.fromkeys(path.rpartition("/")[0] for path, _, _ in writes)
        if path != optimizer_state.LAYER
    ]
    try:
        for _, variable, value in writes:
            live.assign(variable, value)
        refreshed = derived.refresh(model, layers)
        if refreshed:
            report = (*report, f"{refreshed} Normalization layers recomputed")
        displaced.report = report
        displaced.model = weakref.ref(model)
        for line in report:
            _LOGGER.info("transplant: %s", line)
        return displaced
    except BaseException:  # Ctrl-C too must not leave half a transplant
        _restore([(variable, displaced[path]) for path, variable, _ in writes])
        derived.refresh(model, layers)
        raise


def _restore(old: list[tuple[keras.Variable, Array]]) -> None:
    """Assigns old values; a second Ctrl-C is raised when all of them are assigned."""
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
