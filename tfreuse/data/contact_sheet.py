"""A picture of a data set: images of each split, their masks over them, what each colour means.

contact_sheet.write(spec, "data.png", augment=("flip", "rotate"))
"""

import os

import numpy as np
import tensorflow as tf

from tfreuse import data, files
from tfreuse.data import drawing
from tfreuse.errors import printable
from tfreuse.specs import DataSpec

SHOWN = 4  # images of a split, from all over it
_INCHES = 2.0  # width of one picture


def write(
    spec: DataSpec, path: str | os.PathLike, augment: tuple[str, ...] = ()
) -> None:
    """Draws the data set as a training would see it; PNG.

    A row a split: image beside image with its labels' colours, `SHOWN` times; what is ignored
    is black. With `augment` a row of the training images as they may be changed.

    Raises:
        InputError: something in the data can't be used.
    """
    splits = [data.load(spec, name) for name in data.SPLITS]
    rows = {split.name: _samples(split) for split in splits}
    if augment:
        images, masks = rows["train"]
        changed = data.augment(images, masks, augment, tf.constant([0, 0]))
        rows["train, changed"] = tuple(one.numpy() for one in changed)
    train = splits[0]
    with files.replacing(path, suffix=".png") as temporary:
        _draw(rows, train, temporary)


def _samples(split: data.Split) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [N, H, W, C] in [0, 1] and masks int32 [N, H, W]."""
    count = min(SHOWN, split.size)
    few = data.take(split, np.linspace(0, split.size - 1, count).astype(int))
    images = few.tensors["image"].numpy().astype(np.float32) / 255
    return images, few.tensors["mask"].numpy().astype(np.int32)


def _draw(rows: dict, split: data.Split, path: os.PathLike) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import patches, pyplot

    height, width = split.tensors["mask"].shape[1:3]
    inches = (2 * _INCHES * SHOWN, len(rows) * (_INCHES * height / width + 0.1) + 0.7)
    figure, axes = pyplot.subplots(
        len(rows), SHOWN, figsize=inches, squeeze=False, layout="constrained"
    )
    colours = drawing.palette(split.num_classes)
    for line, (name, (images, masks)) in zip(axes, rows.items(), strict=True):
        for i, place in enumerate(line):
            place.axis("off")
            if i < len(images):
                place.imshow(_pair(images[i], masks[i], colours, split.ignore_label))
        line[0].set_title(name, loc="left", fontsize=9)
    shown = [
        patches.Patch(color=colour / 255, label=f"{label} {printable(name, 30)}")
        for label, (name, colour) in enumerate(zip(split.class_names, colours))
        if label != split.ignore_label
    ]
    if split.ignore_label >= 0:
        shown.append(
            patches.Patch(color="black", label=f"{split.ignore_label} ignored")
        )
    figure.legend(
        handles=shown[:40],
        loc="outside lower center",
        ncols=8,
        fontsize=8,
        frameon=False,
    )
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _pair(
    image: np.ndarray, mask: np.ndarray, colours: np.ndarray, ignore_label: int
) -> np.ndarray:
    """The image beside itself half covered by its labels' colours, float [H, 2 W, 3]."""
    ignored = mask == ignore_label
    shown = colours[np.where(ignored, 0, mask)] / 255
    shown[ignored] = 0
    rgb = drawing.rgb(image)
    return np.concatenate([rgb, (rgb + shown) / 2], axis=1)
