"""Images and masks, checked before anything is trained on them.

    split = data.load(spec, "train")                       # everything read and checked
    batches = data.training_batches(split, "segmentation", 16, seed=0)     # endless
    for batch in data.evaluation_batches(data.load(spec, "val"), 16): ...  # once, in order
    print(data.check(spec))                                # a report of its contents
    two_classes = data.relabel(split, "foreground")        # label 0 and all others
    few = data.take(split, [3, 1, 4])                      # these examples, in this order
    both = data.join([split, few])                         # one after the other
    noisy = data.corrupt(images, "noise")                  # the same draw every time
    images, masks = data.augment(images, masks, ("flip",), key)

Three sources: `shapes` (built in, drawn on first use), `folder` (<root>/{train,val,test}/
{images,masks}/<stem>.*) and `tfds:NAME` (prepared beforehand). Every image is scaled to cover
`spec.image_size` with its proportions kept, then cropped at the centre; images are averaged,
masks take the nearest label. Nothing is dropped or guessed in silence: data that can't be used
raise InputError here, not in the middle of training, and each decision about files (which split
they are in, how they are paired) is logged as a warning of one line.
"""

from __future__ import annotations  # tf.Tensor stands in signatures

import logging
import multiprocessing
from collections.abc import Sequence

from tfreuse import runtime
from tfreuse.data import held, survey
from tfreuse.data.class_shares import balancing_weights, histogram
from tfreuse.data.corruption import corrupt, hidden, inputs_and_targets
from tfreuse.data.labels import check as check_labels
from tfreuse.data.source import Source, groups
from tfreuse.data.split import Split, make_split, unit, without_tuning
from tfreuse.errors import InputError, nearest
from tfreuse.specs import TASKS, DataSpec

__all__ = [
    "SPLITS",
    "Split",
    "augment",
    "balancing_weights",
    "check",
    "check_files",
    "corrupt",
    "evaluation_batches",
    "group_names",
    "hidden",
    "histogram",
    "inputs_and_targets",
    "join",
    "load",
    "relabel",
    "take",
    "training_batches",
]

SPLITS = ("train", "val", "test")
_LOGGED: set[str] = set()  # notes on data that this process has logged

tf = runtime.Lazy("tensorflow")
augmentation = runtime.Lazy("tfreuse.data.augmentation")  # imports Keras


def load(spec: DataSpec, split: str, masks: bool = True) -> Split:
    """Reads, checks and resizes all examples of `split`.

    Args:
        spec: the data set, the size of images and a limit on their number.
        split: "train", "val" or "test".
        masks: False leaves masks unread: examples have no "mask", and num_classes is
            `spec.num_classes`.

    Raises:
        InputError: an image or mask can't be used, or labels do not fit the spec.
    """
    if split not in SPLITS:
        raise InputError(f"A split is one of {', '.join(SPLITS)}; got {split!r}.")
    if spec.dataset == held.ARRAYS:
        return held.find(spec, split)
    source = _source(spec)
    arrays = source.read(split, masks)
    num_classes = source.num_classes() if masks else spec.num_classes
    _log(source.notes)
    components = {"image": arrays.images, "id": arrays.ids}
    if masks:
        check_labels(arrays.counts, num_classes, spec.ignore_label)
        components["mask"] = arrays.masks
    with tf.device("CPU:0"):
        tensors = {name: tf.constant(array) for name, array in components.items()}
    names = source.class_names[:num_classes]
    names += tuple(f"class {i}" for i in range(len(names), num_classes))
    return make_split(split, tensors, num_classes, spec.ignore_label, names)


def relabel(split: Split, labels: str) -> Split:
    """Returns a copy of the split with other labels; the images are shared.

    Args:
        split: loaded with masks.
        labels: "all": unchanged; "foreground": 0, and 1 for every other label. Ignored
            pixels stay ignored.

    Raises:
        InputError: label 0 is the ignored label, so that no background would be left.
        ValueError: the split was loaded without masks.
    """
    if labels == "all":
        return split
    if "mask" not in split.tensors:
        raise ValueError("Other labels need masks; this split was loaded without.")
    if split.ignore_label == 0:
        raise InputError(
            "--labels=foreground separates label 0 from all others, but --ignore_label=0 "
            "ignores it. Use another --ignore_label, or --labels=all."
        )
    # 1 is a class now, also if it was the ignored label.
    ignore_label = -1 if split.ignore_label < 0 else max(2, split.ignore_label)
    original = split.tensors["mask"]
    with tf.device("CPU:0"):
        label = tf.cast(original, tf.int32)
        foreground = tf.cast(label > 0, tf.int32)
        masks = tf.where(label == split.ignore_label, ignore_label, foreground)
        masks = tf.cast(masks, original.dtype)
    names = (split.class_names[0], "foreground")
    return make_split(
        split.name, split.tensors | {"mask": masks}, 2, ignore_label, names
    )


def take(split: Split, indices: Sequence[int]) -> Split:
    """Returns a split of the examples at these indices, in this order.

    Raises:
        InputError: there are no indices, or one is out of range.
    """
    indices = [int(index) for index in indices]
    if not indices or min(indices) < 0 or max(indices) >= split.size:
        raise InputError(
            f"expected some of the examples 0 to {split.size - 1} of the {split.name} split, "
            f"got {len(indices)}: {indices[:8]}."
        )
    with tf.device("CPU:0"):
        tensors = {name: tf.gather(t, indices) for name, t in split.tensors.items()}
    return make_split(
        split.name, tensors, split.num_classes, split.ignore_label, split.class_names
    )


def join(splits: Sequence[Split]) -> Split:
    """Returns the examples of several splits, one split after the other, by the first's name.

    Args:
        splits: at least one, of one data set; all loaded with masks, or all without.
    """
    if len(splits) == 1:
        return splits[0]
    first, tensors = splits[0], [split.tensors for split in splits]
    with tf.device("CPU:0"):
        joined = {
            name: tf.concat([t[name] for t in tensors], axis=0) for name in tensors[0]
        }
    return make_split(
        first.name, joined, first.num_classes, first.ignore_label, first.class_names
    )


def group_names(split: Split, pattern: str) -> list[str] | None:
    """Returns the pattern's match at the start of each image's name; None without a pattern.

    Raises:
        InputError: it does not match a name.
    """
    if not pattern:
        return None
    names = [name.decode(errors="replace") for name in split.tensors["id"].numpy()]
    return groups(names, pattern)


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
    """Returns endless (images, targets): every example once per pass, newly shuffled per pass.

    Batch k depends on `seed` and k alone, so a run that stopped after k batches resumes with
    `start_step=k` as if it had never stopped. A batch may extend from one pass into the next.

    Args:
        split: the examples.
        task: "segmentation": targets are masks int32 [B, H, W]; "autoencoder": the images.
        batch_size: B, the same for every batch.
        seed: of the order, the corruption and the augmentation.
        start_step: number of batches to skip.
        corruption: auto-encoder: corruption of its input, another draw in each pass.
        augment: some of specs.AUGMENTATIONS, another draw in each pass; an auto-encoder's
            target is the augmented image.

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

    def order(pass_number: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), pass_number])
        shuffle = tf.random.experimental.stateless_shuffle
        return tf.data.Dataset.from_tensor_slices(
            shuffle(tf.range(size), seed=key, alg="philox")
        )

    def gather(step: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = unit(tf.gather(tensors["image"], indices))
        if task == "autoencoder":
            masks = tf.zeros(tf.shape(images)[:3], tf.int32)
        else:
            masks = tf.cast(tf.gather(tensors["mask"], indices), tf.int32)
        if augment:
            key = tf.stack([tf.constant(seed, tf.int64), step])
            images, masks = augmentation.augment(images, masks, augment, key)
        if task == "segmentation":
            return images, masks
        numbers = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        return inputs_and_targets(images, corruption, seed, numbers)

    # Pass done // size is entered in the middle; earlier passes are never drawn.
    passes = tf.data.Dataset.counter(done // size)
    indices = passes.flat_map(order).skip(done % size)
    batches = indices.batch(batch_size, drop_remainder=True).enumerate(start_step)
    batches = batches.map(gather, num_parallel_calls=2, deterministic=True)
    return without_tuning(batches.prefetch(2))


def evaluation_batches(split: Split, batch_size: int) -> tf.data.Dataset:
    """Returns every example once and in order; the last batch may be smaller.

    Returns:
        A data set of {"image": float32 [B, H, W, C] in [0, 1], "mask": int32 [B, H, W],
        "id": string [B]}, without "mask" if the split was loaded without masks.
    """

    def in_units(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return batch | {"image": unit(batch["image"])}

    return without_tuning(split.examples.batch(batch_size).map(in_units).prefetch(2))


def augment(
    images: tf.Tensor, masks: tf.Tensor, names: Sequence[str], key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns augmented copies of images and masks; see `augmentation.augment`."""
    return augmentation.augment(images, masks, names, key)


def check_files(
    spec: DataSpec, splits: Sequence[str] = SPLITS, masks: bool = True
) -> None:
    """Checks that the files of these splits are there, without reading them or TensorFlow.

    Logs, as `load`, how they are laid out.

    Raises:
        InputError: as `load`, where names of files and folders suffice to see it.
    """
    if spec.dataset in ("shapes", held.ARRAYS) or spec.dataset.startswith("tfds:"):
        return  # nothing can be wrong, or importing TFDS takes as long as TensorFlow
    source = _source(spec)
    for split in splits:
        source.pairs(split, masks)
    _log(source.notes)


def check(spec: DataSpec) -> str:
    """Returns a text on the data set's pairs, sizes, modes and labels, for a person to read.

    Raises:
        InputError: an image or mask can't be used.
    """
    source = _source(spec)
    text = survey.report(source, SPLITS, spec.ignore_label)
    _LOGGED.update(source.notes)
    return text


def _log(notes: list[str]) -> None:
    """Logs decisions about the data, each line once a process."""
    # The workers of a study read the same files, on which the study itself has logged the notes.
    in_worker = multiprocessing.parent_process() is not None
    for note in dict.fromkeys(notes):  # splits of one folder have the same notes
        if note not in _LOGGED and not in_worker:
            logging.getLogger("tfreuse.data").warning("%s.", note)
    _LOGGED.update(notes)


def _source(spec: DataSpec) -> Source:
    """Opens the source of `spec.dataset`. Raises InputError if there is no such source."""
    if spec.dataset == "folder":
        from tfreuse.data import folder

        return folder.Folder(spec)
    if spec.dataset == "shapes" or spec.dataset.startswith("tfds:"):
        from tfreuse.data import catalogue  # takes seconds to import: TFDS

        return catalogue.Catalogue(spec)
    kinds = ("shapes", "folder", "tfds:NAME")
    raise InputError(
        f"--dataset takes {', '.join(kinds)}; got {spec.dataset!r}. "
        f"Did you mean {nearest(spec.dataset, kinds, 1)[0]}?"
    )
