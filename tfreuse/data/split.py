"""A split of a data set in memory."""

from __future__ import annotations  # tf.Tensor stands in signatures

import dataclasses
import functools

from tfreuse import runtime

tf = runtime.Lazy("tensorflow")


@dataclasses.dataclass(frozen=True)
class Split:
    """A split in memory: N x H x W x (C + 1) bytes, or (C + 4) if a label is over 255."""

    name: str  # one of SPLITS
    examples: tf.data.Dataset  # {"image": uint8 [H, W, C], "mask": int32 [H, W], "id"}
    size: int  # number of examples
    num_classes: int
    ignore_label: int  # -1: none
    class_names: tuple[str, ...]

    @functools.cached_property
    def tensors(self) -> dict[str, tf.Tensor]:
        """All examples stacked, in order, in main memory (never a GPU's)."""
        with tf.device("CPU:0"):
            return next(iter(self.examples.batch(self.size)))


def make_split(
    name: str,
    tensors: dict[str, tf.Tensor],
    num_classes: int,
    ignore_label: int,
    class_names: tuple[str, ...],
) -> Split:
    split = Split(
        name=name,
        examples=tf.data.Dataset.from_tensor_slices(tensors).map(_with_int32_mask),
        size=len(tensors["id"]),
        num_classes=num_classes,
        ignore_label=ignore_label,
        class_names=class_names,
    )
    split.__dict__["tensors"] = (
        tensors  # fills the cached property without a second copy
    )
    return split


def without_tuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Leaves the numbers of threads and of prefetched batches as they are given.

    TensorFlow's thread that would tune them sleeps for longer and longer, and whoever frees the
    iterator waits for it: tens of seconds in a process that trains several networks.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def unit(images: tf.Tensor) -> tf.Tensor:
    """Converts uint8 to float32 in [0, 1]; other numbers keep their values."""
    values = tf.cast(images, tf.float32)
    return values / 255.0 if images.dtype == tf.uint8 else values


def _with_int32_mask(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    if "mask" in example:
        return example | {"mask": tf.cast(example["mask"], tf.int32)}
    return example
