"""Data sets of arrays that a program holds in memory, for `tfreuse.measure`.

spec = DataSpec(dataset=ARRAYS, data_dir=digest, image_size=(64, 64), num_classes=5)
with holding(spec, {"train": split(images), "test": split(images, masks, 5)}):
    data.load(spec, "test")
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np

from tfreuse import runtime
from tfreuse.data.split import Split, make_split
from tfreuse.errors import InputError
from tfreuse.specs import DataSpec

ARRAYS = "arrays"  # the name of such a data set
_HELD: dict[DataSpec, Mapping[str, Split]] = {}

tf = runtime.Lazy("tensorflow")


def split(
    name: str,
    images: np.ndarray,
    masks: np.ndarray | None = None,
    num_classes: int = 0,
    ignore_label: int = -1,
) -> Split:
    """Returns a split of images float32 [N, H, W, C] and masks int [N, H, W]."""
    with tf.device("CPU:0"):
        tensors = {"image": tf.constant(images, tf.float32)}
        tensors["id"] = tf.constant([str(number) for number in range(len(images))])
        if masks is not None:
            tensors["mask"] = tf.constant(masks, tf.int32)
    names = tuple(f"class {number}" for number in range(num_classes))
    return make_split(name, tensors, num_classes, ignore_label, names)


@contextlib.contextmanager
def holding(spec: DataSpec, splits: Mapping[str, Split]) -> Iterator[None]:
    """Makes the splits loadable by the spec within the block."""
    _HELD[spec] = splits
    try:
        yield
    finally:
        del _HELD[spec]


def find(spec: DataSpec, name: str) -> Split:
    """Returns a split; InputError where no program holds it."""
    if name not in _HELD.get(spec, {}):
        raise InputError(
            "--dataset=arrays is of arrays that a program gave to tfreuse.measure; they are not on "
            "the disk. Call it again with the same arrays and out_dir to go on."
        )
    return _HELD[spec][name]
