"""A picture of a data set: images of each split with their masks, and a legend of the colours.

contact_sheet.write(spec, "data.png", augment=("flip", "rotate"))
"""

import os

import numpy as np
import tensorflow as tf

from tfreuse import data, files
from tfreuse.data import drawing
from tfreuse.errors import printable
from tfreuse.specs import DataSpec

COLUMNS = 4  # images of a split, evenly spaced in its order
_INCHES = 2.0  # width of an image


def write(
    spec: DataSpec, path: str | os.PathLike, augment: tuple[str, ...] = ()
) -> None:
    """Draws the data set as a training would see it, as a PNG file.

    Each split is a row of `COLUMNS` images, each beside a copy blended with the colours of its
    labels; ignored pixels are black. With `augment`, one more row shows augmented training
    images.

    Raises:
        InputError: an image or mask can't be used.
    """
    splits = [data.load(spec, name) for name in data.SPLITS]
    rows = {split.name: _samples(split) for split in splits}
    if augment:
        images, masks = rows["train"]
        pair = data.augment(images, masks, augment, tf.constant([0, 0]))
        rows["train, changed"] = tuple(tensor.numpy() for tensor in pair)
    train = splits[0]
    with files.replacing(path, suffix=".png") as temporary:
        _draw(rows, train, temporary)


def _samples(split: data.Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns images float32 [N, H, W, C] in [0, 1] and masks int32 [N, H, W]."""
    count = min(COLUMNS, split.size)
    sample = data.take(split, np.linspace(0, split.size - 1, count).astype(int))
    images = sample.tensors["image"].numpy().astype(np.float32) / 255
    return images, sample.tensors["mask"].numpy().astype(np.int32)


def _draw(rows: dict, split: data.Split, path: os.PathLike) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import patches, pyplot

    height, width = split.tensors["mask"].shape[1:3]
    row_inches = _INCHES * height / width + 0.1
    inches = (2 * _INCHES * COLUMNS, len(rows) * row_inches + 0.7)
    figure, grid = pyplot.subplots(
        len(rows), COLUMNS, figsize=inches, squeeze=False, layout="constrained"
    )
    colours = drawing.palette(split.num_classes)
    for row, (name, (images, masks)) in zip(grid, rows.items(), strict=True):
        for i, axes in enumerate(row):
            axes.axis("off")
            if i < len(images):
                axes.imshow(_pair(images[i], masks[i], colours, split.ignore_label))
        row[0].set_title(name, loc="left", fontsize=9)
    legend = [
        patches.Patch(color=colour / 255, label=f"{label} {printable(name, 30)}")
        for label, (name, colour) in enumerate(zip(split.class_names, colours))
        if label != split.ignore_label
    ]
    if split.ignore_label >= 0:
        legend.append(
            patches.Patch(color="black", label=f"{split.ignore_label} ignored")
        )
    figure.legend(
        handles=legend[:40],
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
    """Returns the image beside its blend with the labels' colours, float [H, 2 W, 3]."""
    rgb = drawing.rgb(image)
    labels = drawing.label_colours(mask, colours, ignore_label) / 255
    return np.concatenate([rgb, (rgb + labels) / 2], axis=1)
