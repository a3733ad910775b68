"""Moves parameters from a model file into a live model, for which no second model is built.

    displaced = loading.load("donor.keras", recipient, roles="stats", layers=["encoder_*"])
    transplant.undo(displaced, recipient)  # bit for bit as before

Only the bytes that are selected are read, each of them once, into the memory that the
recipient computes with from then on.
"""

import contextlib
import mmap
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse import checkpoints, transplant
from tfreuse.checkpoints import Checkpoint, workers
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.moving import aligning, pairs
from tfreuse.plan import Plan, Variable

_ALIGNMENT = 64  # bytes; TensorFlow computes with other memory only after copying it
_PIECE = 2**20  # bytes that a thread reads at a time
_BLOCK = 32 * 2**20  # bytes of memory that are asked for at once


class _Live:
    """A live model as plans and alignment see an open file."""

    def __init__(self, model: keras.Model) -> None:
        self.variables = transplant.index(model)
        self.edges = transplant.edges(model)
        self.read: Callable[[Variable], np.ndarray] = transplant.reader(model)


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
            allow_missing, allow_unused, adapters; "align" reads all trained arrays.

    Raises:
        InputError: the file cannot be read, the plan has problems, or a value is not finite
            or is a variance below zero. Nothing has changed then.
    """
    with checkpoints.open(path) as donor:
        live = _Live(recipient)
        plan = pairs.make(donor, live, **options).check()
        found = values(donor, plan)
        if aligning.aligns(plan):
            together = pairs.paired(plan, donor, live)
            ordered = aligning.aligned(together, donor, live)
            wanted = {e.donor.path for e in plan.copies if "align" in e.adapters}
            found |= {path: ordered[path] for path in wanted & {*ordered}}
            plan = aligning.done(plan)
        return transplant.apply(plan, found, recipient, optimizer=optimizer)


def values(donor: Checkpoint, plan: Plan) -> dict[str, np.ndarray | tf.Tensor]:
    """The values that the plan moves, by the donor's variable paths, for `transplant.apply`.

    Tensors own the memory that was read into, so that assigning them copies nothing. What an
    adapter changes, and what TensorFlow cannot share, comes as an array.
    """
    found, shared = {}, {}
    for entry in plan.copies:
        variable = entry.donor
        if entry.adapters or not _shareable(donor, variable):
            found[variable.path] = donor.read(variable)
        else:
            shared[variable.path] = donor.stored(variable)
    for path, memory in zip(shared, _read(list(shared.values()))):
        array = memory.view(shared[path].dtype).reshape(shared[path].shape)
        found[path] = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return found


def _shareable(donor: Checkpoint, variable: Variable) -> bool:
    stored = donor.stored(variable)
    ours = stored.dtype.isnative and stored.dtype.kind in "fiu"
    on_cpu = not tf.config.list_logical_devices("GPU")
    return ours and on_cpu and stored.extent is not None and stored.nbytes > 0


def _read(wanted: list[StoredArray]) -> list[np.ndarray]:
    """The bytes of arrays, each in memory that TensorFlow takes as it is."""
    for stored in wanted:
        stored.source.check(
            stored.offset, stored.nbytes
        )  # before there is memory for it
    places = _places([stored.nbytes for stored in wanted])
    jobs = [
        partial(_fill, stored, memory, at)
        for stored, memory in zip(wanted, places)
        for at in range(0, stored.nbytes, _PIECE)
    ]
    workers.run(jobs)
    return places


def _fill(stored: StoredArray, memory: np.ndarray, at: int, _: memoryview) -> None:
    stored.source.read_into(stored.offset + at, memoryview(memory[at : at + _PIECE]))


def _places(sizes: list[int]) -> list[np.ndarray]:
    """Aligned memory for each size, in blocks: new memory is dear, page by page.

    A block is free again when none of its arrays is in use, so that it holds few.
    """
    padded = [-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes]
    found: list[np.ndarray] = []
    while len(found) < len(sizes):
        first, end = len(found), len(found) + 1
        while end < len(sizes) and sum(padded[first : end + 1]) <= _BLOCK:
            end += 1
        block = mmap.mmap(-1, sum(padded[first:end]), mmap.MAP_PRIVATE | mmap.MAP_ANON)
        if hasattr(mmap, "MADV_HUGEPAGE"):  # 2 MB a page instead of 4 kB
            with contextlib.suppress(OSError):  # a kernel without them
                block.madvise(mmap.MADV_HUGEPAGE)
        memory, at = np.frombuffer(block, np.uint8), 0
        for size, space in zip(sizes[first:end], padded[first:end]):
            found.append(memory[at : at + size])
            at += space
    return found
