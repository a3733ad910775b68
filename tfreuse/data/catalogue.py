"""Data sets of TensorFlow Datasets: the built-in `shapes` and, prepared beforehand, any other."""

import shlex
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from tfreuse.data import labels, masks, pictures, scenes, shapes
from tfreuse.data.source import SplitArrays, smallest
from tfreuse.data.split import without_tuning
from tfreuse.errors import InputError, nearest, printable, reason
from tfreuse.specs import DataSpec

VALIDATION = ("val", "validation", "dev")  # names of the validation split in TFDS


class Catalogue:
    """The data set `spec.dataset`: "shapes" or "tfds:NAME". Never downloads.

    If NAME has no validation split, the last tenth of its train split is the validation split.
    """

    def __init__(self, spec: DataSpec):
        self.spec = spec
        self.notes: list[str] = []
        if spec.dataset == "shapes":  # keys and offset of the flags are for tfds:NAME
            self.class_names = scenes.CLASS_NAMES
            self.image_key, self.mask_key, self.offset = "image", "segmentation_mask", 0
            self.builder = shapes.prepare(spec.data_dir)
        else:
            self.class_names = ()
            self.image_key, self.mask_key = spec.image_key, spec.mask_key
            self.offset = spec.label_offset
            self.builder = _prepared(spec)

    def read(self, split: str, with_masks: bool = True) -> SplitArrays:
        """Reads all of `split`."""
        spec = self.spec
        limit = spec.train_examples if split == "train" else spec.test_examples
        images, labelled, counts, sizes, modes = [], [], [], [], []
        for i, (image, mask) in enumerate(self._pairs(split, limit, with_masks)):
            pixels = pictures.as_channels(image, spec.channels)
            images.append(pictures.fit_image(pixels, spec.image_size))
            sizes.append(image.shape[:2])
            modes.append("L" if image.shape[-1] == 1 else "RGB")
            if with_masks:
                labelled.append(pictures.fit_mask(mask, spec.image_size))
                counts.append((f"example {i} of {split}", labels.count(mask)))
        return SplitArrays(
            images=np.stack(images),
            masks=smallest(np.stack(labelled)) if with_masks else None,
            ids=np.array([f"{split}/{i}" for i in range(len(images))]),
            counts=counts,
            sizes=sizes,
            modes=modes,
        )

    def num_classes(self) -> int:
        """Returns the spec's, or 5 for shapes, or 1 + the largest label of any split."""
        if self.spec.num_classes or self.class_names:
            return self.spec.num_classes or len(self.class_names)
        counts = [
            (f"example {i} of {split}", labels.count(mask))
            for split in ("train", "val", "test")
            if self._tfds_split(split)
            for i, (_, mask) in enumerate(self._pairs(split, 0, True))
        ]
        classes = labels.classes(counts, self.spec.ignore_label)
        self.notes += labels.notes(counts, self.spec.ignore_label)
        return classes

    def _pairs(
        self, split: str, limit: int, with_masks: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yields images uint8 [H, W, C] and masks int32 [H, W] in their stored order."""
        self._check_keys(
            (self.image_key, self.mask_key) if with_masks else (self.image_key,)
        )
        tfds_split = self._tfds_split(split)
        if not tfds_split:
            raise InputError(
                f"{self.spec.dataset} needs a split {split}; it has "
                f"{', '.join(self.builder.info.splits)}. Cut it from another, e.g. "
                "--splits='train=train[:70%],val=train[70%:85%],test=train[85%:]'."
            )
        try:
            examples = self.builder.as_dataset(split=tfds_split)
        except (ValueError, KeyError, AssertionError) as error:
            raise InputError(
                f"--splits={split}={printable(tfds_split)} is none of {self.spec.dataset}'s "
                f"({', '.join(self.builder.info.splits)}) or of their parts: "
                f"{reason(error, 120)}"
            ) from error
        examples = without_tuning(examples.take(limit) if limit else examples)
        for example in examples.as_numpy_iterator():
            image = example[self.image_key]
            if self.spec.intensity_range and image.dtype == np.uint8:
                image = pictures.stretched(image, "L", self.spec, self.spec.dataset)
            elif self.spec.intensity_range:
                image = pictures.scaled(image, self.spec)
            if image.dtype != np.uint8 or image.shape[2:] not in ((1,), (3,)):
                raise InputError(
                    f"Images must be uint8 [H, W, 1 or 3]; those of {self.spec.dataset} are "
                    f"{image.dtype} {image.shape}. Name others with --image_key, or scale their "
                    "values with --intensity_range=min,max."
                )
            mask = self._labels(example[self.mask_key]) if with_masks else None
            if with_masks and mask.shape != image.shape[:2]:
                raise InputError(
                    f"A mask must have its image's size; in {self.spec.dataset} an image is "
                    f"{image.shape[:2]}, its mask {mask.shape}. Check --mask_key."
                )
            yield image, mask

    def _labels(self, stored: np.ndarray) -> np.ndarray:
        """Returns labels int32 [H, W], the offset added to all but the ignored label."""
        if stored.ndim not in (2, 3) or stored.shape[2:] not in ((), (1,)):
            raise InputError(
                f"Masks must be [H, W] or [H, W, 1]; those of {self.spec.dataset} are "
                f"{stored.shape}. Name others with --mask_key."
            )
        mask = stored.reshape(stored.shape[:2]).astype(np.int32)
        mask = np.where(mask == self.spec.ignore_label, mask, mask + self.offset)
        mask = masks.as_labels(mask, self.spec.mask_threshold)
        if mask.min() < 0:
            raise InputError(
                f"Labels must count up from 0; {self.spec.dataset} with --label_offset="
                f"{self.offset} has {mask.min()}. Type --label_offset=0."
            )
        return mask

    def _tfds_split(self, split: str) -> str:
        """Returns TFDS's name or slice of `split`; "" if the data set has no such split."""
        by_flag = dict(word.split("=", 1) for word in self.spec.splits)
        if split in by_flag:
            return by_flag[split]
        names = self.builder.info.splits
        validation = next((name for name in VALIDATION if name in names), "")
        if split == "val":
            return validation or ("train[90%:]" if "train" in names else "")
        if split == "train" and split in names and not validation:
            return "train[:90%]"
        return split if split in names else ""

    def _check_keys(self, keys: tuple[str, ...]) -> None:
        features = self.builder.info.features
        for key in keys:
            if key not in features:
                raise InputError(
                    f"{self.spec.dataset} has no {key!r}; it has {', '.join(features)}. "
                    "Name them with --image_key and --mask_key."
                )


def _prepared(spec: DataSpec) -> tfds.core.DatasetBuilder:
    """Returns the builder of tfds:NAME. Raises InputError if its data are not on this disk."""
    name = spec.dataset.removeprefix("tfds:")
    folder = {"data_dir": spec.data_dir} if spec.data_dir else {}
    try:
        builder = tfds.builder(name, **folder)
    except (tfds.core.DatasetNotFoundError, ValueError, ImportError) as error:
        names = tfds.list_builders(with_community_datasets=False)  # needs no network
        raise InputError(
            f"--dataset=tfds:NAME takes a data set of TFDS; got {printable(name)}. "
            f"Nearest: {', '.join(nearest(name.split('/')[0], names, 3))}."
        ) from error
    if not shapes.on_disk(builder):
        arguments = "".join(f", {k}={v!r}" for k, v in folder.items())
        code = (
            "import tensorflow_datasets as tfds; "
            f"tfds.builder({name!r}{arguments}).download_and_prepare()"
        )
        raise InputError(
            f"{spec.dataset} is not on this disk ({builder.data_dir}), and nothing is "
            f"downloaded unasked. Add --download, or: python -c {shlex.quote(code)}"
        )
    return builder
