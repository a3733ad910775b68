"""A small sound folder data set to read, and to spoil."""

import numpy as np
from PIL import Image

from tfreuse.specs import DataSpec

PALETTE = np.array([[20, 30, 40], [200, 60, 50], [70, 180, 90]], np.uint8)


def picture(seed, size=(12, 16)):
    """A random mask of blocks [H, W] with labels 0 to 2, and the image painted from it."""
    blocks = np.random.default_rng(seed).integers(0, 3, (3, 4))
    blocks[0, :3] = 0, 1, 2  # so that every mask has every label
    rows, columns = (
        np.arange(n) * k // n for n, k in zip(size, blocks.shape, strict=True)
    )
    mask = blocks[rows][:, columns].astype(np.uint8)
    return PALETTE[mask], mask


def fill(root, counts=(("train", 5), ("val", 2), ("test", 2)), size=(12, 16)):
    """A sound data set of PNG files in `root`; returns its spec, at 12 x 16 pixels."""
    for split, count in counts:
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for i in range(count):
            image, mask = picture(i + 100 * len(split), size)
            Image.fromarray(image).save(root / split / "images" / f"p{i}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"p{i}.png")
    return DataSpec(dataset="folder", data_dir=str(root), image_size=(12, 16))


def examples(split):
    return list(split.examples.as_numpy_iterator())


def save(array, path):
    Image.fromarray(np.asarray(array)).save(path)
