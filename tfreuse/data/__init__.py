"""Images and masks, checked before anything is trained on them.

    split = data.load(spec, "train")                       # everything read and checked
    batches = data.training_batches(split, "segmentation", 16, seed=0)     # endless
    for batch in data.evaluation_batches(data.load(spec, "val"), 16): ...  # once, in order
    print(data.check(spec))                                # what is there, for a person
    two_classes = data.relabel(split, "foreground")        # label 0 and all others
    few = data.take(split, [3, 1, 4])                      # these examples, in this order
    noisy = data.corrupt(images, "noise")                  # the same draw every time
    images, masks = data.augment(images, masks, ("flip",), key)

Three sources: `shapes` (built in, drawn on first use), `folder` (<root>/{train,val,test}/
{images,masks}/<stem>.*) and `tfds:NAME` (prepared beforehand). Whatever the source, an image
covers `spec.image_size` keeping its proportions and what sticks out is cut off evenly; the
image is averaged, its mask takes the nearest label. Nothing is dropped or guessed in silence:
what can't be used raises InputError here, not in the middle of training.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfreuse.data import labels as labels_module
from tfreuse.data import source as source_module
from tfreuse.data import survey
from tfreuse.data.augmentation import augment
from tfreuse.data.corruption import corrupt, inputs_and_targets
from tfreuse.data.source import named
from tfreuse.errors import InputError
from tfreuse.specs import TASKS, DataSpec

__all__ = [
    "SPLITS",
    "Split",
    "augment",
    "check",
    "corrupt",
    "evaluation_batches",
    "group_names",
    "histogram",
    "inputs_and_targets",
    "load",
    "relabel",
    "take",
    "training_batches",
]

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Split:
    """A split in memory: N x H x W x (C + 1) bytes (+ 4 for a pixel whose label is over 255)."""

    name: str  # one of SPLITS
    examples: tf.data.Dataset  # {"image": uint8 [H, W, C], "mask": int32 [H, W], "id"}
    size: int  # examples in it
    num_classes: int
    ignore_label: int  # -1: none
    class_names: tuple[str, ...]

    @functools.cached_property
    def tensors(self) -> dict[str, tf.Tensor]:
        """All examples at once, in order, in the computer's memory (never a GPU's)."""
        with tf.device("CPU:0"):
            return next(iter(self.examples.batch(self.size)))


def load(spec: DataSpec, split: str, masks: bool = True) -> Split:
    """The examples of `split`, all of them read, checked and resized.

    Args:
        spec: which data, at which size; it may limit how many.
        split: "train", "val" or "test".
        masks: False leaves masks unread: examples have no "mask", and num_classes is
            `spec.num_classes`.

    Raises:
        InputError: something in the data can't be used, or labels do not fit the spec.
    """
    if split not in SPLITS:
        raise InputError(f"A split is one of {', '.join(SPLITS)}; got {split!r}.")
    source = named(spec)
    found = source.read(split, masks)
    num_classes = source.num_classes() if masks else spec.num_classes
    if masks:
        labels_module.check(found.counts, num_classes, spec.ignore_label)
    arrays = {"image": found.images, "id": found.ids}
    if masks:
        arrays["mask"] = found.masks
    with tf.device("CPU:0"):
        tensors = {name: tf.constant(array) for name, array in arrays.items()}
    names = source.class_names[:num_classes]
    names += tuple(f"class {i}" for i in range(len(names), num_classes))
    return _split(split, tensors, num_classes, spec.ignore_label, names)


def relabel(split: Split, labels: str) -> Split:
    """The split with other labels; it shares the images, and is as it was itself.

    Args:
        split: loaded with masks.
        labels: "all": as they are; "foreground": 0, and 1 for every other label. What is
            ignored stays ignored.

    Raises:
        InputError: label 0 is the ignored one: nothing is left that is no foreground.
        ValueError: the split was loaded without masks.
    """
    if labels == "all":
        return split
    if "mask" not in split.tensors:
        raise ValueError("Other labels need masks; this split was loaded without.")
    if split.ignore_label == 0:
        raise InputError(
            "--labels=foreground tells label 0 from all others, but --ignore_label=0 leaves "
            "it out. Use another --ignore_label, or --labels=all."
        )
    # 1 may have been the ignored label; now it is a class
    ignore_label = -1 if split.ignore_label < 0 else max(2, split.ignore_label)
    given = split.tensors["mask"]
    with tf.device("CPU:0"):
        numbers = tf.cast(given, tf.int32)
        foreground = tf.cast(numbers > 0, tf.int32)
        masks = tf.where(numbers == split.ignore_label, ignore_label, foreground)
        masks = tf.cast(masks, given.dtype)
    names = (split.class_names[0], "foreground")
    return _split(split.name, split.tensors | {"mask": masks}, 2, ignore_label, names)


def take(split: Split, indices: Sequence[int]) -> Split:
    """These examples of the split, in this order; it is as it was itself.

    Raises:
        InputError: there are none, or the split has no such example.
    """
    indices = [int(index) for index in indices]
    if not indices or min(indices) < 0 or max(indices) >= split.size:
        raise InputError(
            f"expected some of the examples 0 to {split.size - 1} of the {split.name} split, "
            f"got {len(indices)}: {indices[:8]}."
        )
    with tf.device("CPU:0"):
        tensors = {name: tf.gather(t, indices) for name, t in split.tensors.items()}
    return _split(
        split.name, tensors, split.num_classes, split.ignore_label, split.class_names
    )


def histogram(split: Split) -> np.ndarray:
    """Pixels of each class in each image, [N, C]; what is ignored is not counted."""
    masks = split.tensors["mask"].numpy().astype(np.int64)
    kept = np.where(masks == split.ignore_label, split.num_classes, masks)
    return np.stack(
        [np.bincount(one.ravel(), minlength=split.num_classes + 1) for one in kept]
    )[:, : split.num_classes]


def balancing_weights(split: Split) -> np.ndarray:
    """A weight a class, [C]: by median frequency (Eigen and Fergus 2015, arXiv:1411.4734).

    A class's frequency is its share of the pixels of the images that have it; weights are
    scaled so that the mean over all pixels is 1, and the loss keeps its size. A class that is
    absent has weight 0.
    """
    pixels = histogram(split).astype(float)  # [N, C]
    total = pixels.sum(axis=0)
    of_images = np.where(pixels > 0, pixels.sum(axis=1, keepdims=True), 0).sum(axis=0)
    share = total / np.maximum(1, of_images)
    present = share > 0
    weights = np.where(present, np.median(share[present]) / np.maximum(share, 1e-12), 0)
    return weights * total.sum() / (weights * total).sum()


def group_names(split: Split, pattern: str) -> list[str] | None:
    """What the pattern matches at the start of each image's name; None without a pattern.

    Raises:
        InputError: it does not match a name.
    """
    if not pattern:
        return None
    names = [name.decode(errors="replace") for name in split.tensors["id"].numpy()]
    return source_module.groups(names, pattern)


_augment = augment  # the argument below has its name


def training_batches(
    split: Split,
    task: str,
    batch_size: int,
    *,
    seed: int,
    start_step: int = 0,
    corruption: str = "none",
    augment: Sequence[str] = (),
) -> tf.data.Dataset:
    """Endless (images, targets): every example once a pass, each pass in an order of its own.

    Batch k depends on `seed` and k alone, so a run that stopped after k batches goes on with
    `start_step=k` as if it had never stopped. A batch may reach from one pass into the next.

    Args:
        split: what to draw from.
        task: "segmentation": targets are masks int32 [B, H, W]; "autoencoder": the images.
        batch_size: B, the same for every batch.
        seed: of the order and of the corruption.
        start_step: how many batches to leave out.
        corruption: auto-encoder: what its input loses, another draw each pass.
        augment: some of specs.AUGMENTATIONS, another draw each pass; an auto-encoder's target
            is the changed image.

    Returns:
        A data set of images float32 [B, H, W, C] in [0, 1] and their targets.

    Raises:
        ValueError: unknown task, segmentation of a split loaded without masks or with a
            corruption.
    """
    if task not in TASKS:
        raise ValueError(f"A task is one of {', '.join(TASKS)}; got {task!r}.")
    tensors = split.tensors
    if task == "segmentation" and "mask" not in tensors:
        raise ValueError("Segmentation needs masks; this split was loaded without.")
    if task == "segmentation" and corruption != "none":
        raise ValueError(f"Corruption is for auto-encoders; got {corruption!r}.")
    size, done = split.size, start_step * batch_size

    def order(number: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), number])
        shuffle = tf.random.experimental.stateless_shuffle
        return tf.data.Dataset.from_tensor_slices(
            shuffle(tf.range(size), seed=key, alg="philox")
        )

    def gather(step: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = _unit(tf.gather(tensors["image"], indices))
        if task == "autoencoder":
            masks = tf.zeros(tf.shape(images)[:3], tf.int32)
        else:
            masks = tf.cast(tf.gather(tensors["mask"], indices), tf.int32)
        if augment:
            key = tf.stack([tf.constant(seed, tf.int64), step])
            images, masks = _augment(images, masks, augment, key)
        if task == "segmentation":
            return images, masks
        numbers = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        return inputs_and_targets(images, corruption, seed, numbers)

    passes = tf.data.Dataset.counter(done // size)
    indices = passes.flat_map(order).skip(done % size)
    batches = indices.batch(batch_size, drop_remainder=True).enumerate(start_step)
    return batches.map(gather, num_parallel_calls=2, deterministic=True).prefetch(2)


def evaluation_batches(split: Split, batch_size: int) -> tf.data.Dataset:
    """Every example once and in order; the last batch may be smaller.

    Returns:
        A data set of {"image": float32 [B, H, W, C] in [0, 1], "mask": int32 [B, H, W],
        "id": string [B]}, without "mask" where the split was loaded without.
    """

    def in_units(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return batch | {"image": _unit(batch["image"])}

    return split.examples.batch(batch_size).map(in_units).prefetch(2)


def check(spec: DataSpec) -> str:
    """What the data set holds, for a person to read: pairs, sizes, modes, labels.

    Raises:
        InputError: something in it can't be used.
    """
    return survey.report(named(spec), SPLITS, spec.ignore_label)


def _split(
    name: str,
    tensors: dict[str, tf.Tensor],
    num_classes: int,
    ignore_label: int,
    class_names: tuple[str, ...],
) -> Split:
    made = Split(
        name=name,
        examples=tf.data.Dataset.from_tensor_slices(tensors).map(_with_int32_mask),
        size=len(tensors["id"]),
        num_classes=num_classes,
        ignore_label=ignore_label,
        class_names=class_names,
    )
    made.__dict__["tensors"] = tensors  # the cached property, without a second copy
    return made


def _unit(images: tf.Tensor) -> tf.Tensor:
    """uint8 to float32 in [0, 1]."""
    return tf.cast(images, tf.float32) / 255.0


def _with_int32_mask(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    if "mask" in example:
        return example | {"mask": tf.cast(example["mask"], tf.int32)}
    return example
