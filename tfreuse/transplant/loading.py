"""Reads a file's arrays into the memory that a live model computes with.

    displaced = loading.load("donor.keras", recipient, roles="stats", layers=["encoder_*"])
    transplant.undo(displaced, recipient)  # bit for bit as before

Only the bytes of selected arrays are read, each of them once; the tensors own that memory.
"""

import contextlib
import mmap
import os
from collections.abc import Iterable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse.checkpoints import Checkpoint, workers
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.plan import Variable
from tfreuse.transplant import pairing
from tfreuse.transplant.applied import Displaced
from tfreuse.transplant.pair import opened

_ALIGNMENT = 64  # bytes; TensorFlow computes with other memory only after copying it
_PIECE = 2**20  # bytes that a thread reads at a time
_BLOCK = 32 * 2**20  # bytes of memory that are requested at once


def load(
    path: str | os.PathLike,
    recipient: keras.Model,
    *,
    optimizer: str = "zero",
    **options: Any,
) -> Displaced:
    """Plans and applies a transplant from a file; returns the displaced values, for `undo`.

    Faster than `transplant.plan` and `transplant.apply` one after the other: the file is
    opened once, and nothing is read to mark variables that are equal already.

    Args:
        path: the donor, in any format of `tfreuse.checkpoints`.
        recipient: a live model, changed in place.
        optimizer: policy for optimizer state, see `tfreuse.transplant.apply`.
        options: as `tfreuse.plan.make` takes them: roles, layers, stages, depth, mapping,
            allow_missing, allow_unused, adapters; "align" reads all trained arrays.

    Raises:
        InputError: the file cannot be read, the plan has problems, or a value is not finite
            or is a variance below zero. Nothing has changed then.
    """
    with opened(path, recipient) as pair:
        plan = pairing.make(pair.donor, pair.recipient, **options)
        return pair.apply(plan, optimizer=optimizer)


def values(
    donor: Checkpoint, variables: Iterable[Variable]
) -> dict[str, np.ndarray | tf.Tensor]:
    """Reads the values of the donor's variables, by path.

    Tensors own the memory that was read into, so that assigning them copies nothing. Values
    that TensorFlow cannot share come as arrays.
    """
    arrays, shared = {}, {}
    for variable in variables:
        if _shareable(donor, variable):
            shared[variable.path] = donor.stored(variable)
        else:
            arrays[variable.path] = donor.read(variable)
    for path, memory in zip(shared, _read(list(shared.values()))):
        array = memory.view(shared[path].dtype).reshape(shared[path].shape)
        arrays[path] = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return arrays


def _shareable(donor: Checkpoint, variable: Variable) -> bool:
    stored = donor.stored(variable)
    native = stored.dtype.isnative and stored.dtype.kind in "fiu"
    on_cpu = not tf.config.list_logical_devices("GPU")
    return native and on_cpu and stored.extent is not None and stored.nbytes > 0


def _read(arrays: list[StoredArray]) -> list[np.ndarray]:
    """Reads the bytes of arrays, each into memory that TensorFlow takes without a copy."""
    for stored in arrays:  # before memory of that size is requested
        stored.source.check(stored.offset, stored.nbytes)
    buffers = _buffers([stored.nbytes for stored in arrays])
    jobs = [
        partial(_fill, stored, buffer, start)
        for stored, buffer in zip(arrays, buffers)
        for start in range(0, stored.nbytes, _PIECE)
    ]
    workers.run(jobs)
    return buffers


def _fill(stored: StoredArray, buffer: np.ndarray, start: int, _: memoryview) -> None:
    piece = memoryview(buffer[start : start + _PIECE])
    stored.source.read_into(stored.offset + start, piece)


def _buffers(sizes: list[int]) -> list[np.ndarray]:
    """Returns aligned memory of each size, cut from blocks.

    Blocks, since new memory is slow, page by page; small ones, since a block is freed only
    when none of its arrays is in use.
    """
    padded = [-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes]
    buffers: list[np.ndarray] = []
    while len(buffers) < len(sizes):
        first, end = len(buffers), len(buffers) + 1
        while end < len(sizes) and sum(padded[first : end + 1]) <= _BLOCK:
            end += 1
        block = mmap.mmap(-1, sum(padded[first:end]), mmap.MAP_PRIVATE | mmap.MAP_ANON)
        if hasattr(mmap, "MADV_HUGEPAGE"):  # 2 MB a page instead of 4 kB
            with contextlib.suppress(OSError):  # a kernel without them
                block.madvise(mmap.MADV_HUGEPAGE)
        memory, start = np.frombuffer(block, np.uint8), 0
        for size, space in zip(sizes[first:end], padded[first:end]):
            buffers.append(memory[start : start + size])
            start += space
    return buffers
