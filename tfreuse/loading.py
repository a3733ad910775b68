"""Moves parameters from a model file into a live model, for which no second model is built.

    displaced = loading.load("donor.keras", recipient, roles="stats", layers=["encoder_*"])
    transplant.undo(displaced, recipient)  # bit for bit as before

Only the bytes that are selected are read, each of them once, into the memory that the
recipient computes with from then on.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse import checkpoints, transplant
from tfreuse.checkpoints import Checkpoint
from tfreuse.moving import pairs
from tfreuse.plan import Plan, Variable

_ALIGNMENT = 64  # bytes; TensorFlow computes with other memory only after copying it


@dataclasses.dataclass(frozen=True)
class _Live:
    """A live model as plans see an open file."""

    variables: tuple[Variable, ...]
    edges: Mapping[str, tuple[str, ...]] | None


def load(
    path: str | os.PathLike,
    recipient: keras.Model,
    *,
    optimizer: str = "zero",
    **options: Any,
) -> transplant.Displaced:
    """Plans and applies a transplant from a file; returns what it displaced, for `undo`.

    Args:
        path: the donor, in any format of `tfreuse.checkpoints`.
        recipient: a live model, changed in place.
        optimizer: what becomes of optimizer state, see `tfreuse.transplant.apply`.
        options: as `tfreuse.plan.make` takes them: roles, layers, stages, depth, mapping,
            allow_missing, allow_unused, adapters.

    Raises:
        InputError: the file cannot be read, the plan has problems, or a value is not finite
            or is a variance below zero. Nothing has changed then.
    """
    with checkpoints.open(path) as donor:
        live = _Live(transplant.index(recipient), transplant.edges(recipient))
        plan = pairs.make(donor, live, **options).check()
        return transplant.apply(
            plan, values(donor, plan), recipient, optimizer=optimizer
        )


def values(donor: Checkpoint, plan: Plan) -> dict[str, np.ndarray | tf.Tensor]:
    """The values that the plan moves, by the donor's variable paths, for `transplant.apply`.

    Tensors own the memory that was read into, so that assigning them copies nothing. What an
    adapter changes, and what TensorFlow cannot share, comes as an array.
    """
    found = {}
    for entry in plan.copies:
        variable = entry.donor
        shared = not entry.adapters and _shareable(donor, variable)
        found[variable.path] = (_tensor if shared else Checkpoint.read)(donor, variable)
    return found


def _shareable(donor: Checkpoint, variable: Variable) -> bool:
    stored = donor.stored(variable)
    ours = stored.dtype.isnative and stored.dtype.kind in "fiu"
    on_cpu = not tf.config.list_logical_devices("GPU")
    return ours and on_cpu and stored.extent is not None and stored.nbytes > 0


def _tensor(donor: Checkpoint, variable: Variable) -> tf.Tensor:
    stored = donor.stored(variable)
    stored.source.check(stored.offset, stored.nbytes)  # before memory is taken for it
    memory = np.empty(stored.nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    memory = memory[start : start + stored.nbytes]
    stored.source.read_into(stored.offset, memoryview(memory))
    array = memory.view(stored.dtype).reshape(stored.shape)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
