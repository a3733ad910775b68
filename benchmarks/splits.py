"""Data sets in memory."""

import numpy as np


def split(name: str, images: np.ndarray, masks: np.ndarray, classes: int):
    """Makes a `data.Split` of images uint8 [N, H, W, 3] and masks int32 [N, H, W]."""
    import tensorflow as tf

    from tfreuse import data

    count = len(images)
    tensors = {"image": images, "mask": masks, "id": np.arange(count).astype(str)}
    examples = tf.data.Dataset.from_tensor_slices(tensors)
    names = tuple(f"class {i}" for i in range(classes))
    return data.Split(name, examples, count, classes, -1, names)


def noise(count: int, side: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws `count` square images uint8 and labels int32 at random."""
    draw, shape = np.random.default_rng(0), (count, side, side)
    images = draw.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return images, draw.integers(0, classes, shape, np.int32)
