"""Changes images and their masks alike, so that a network sees another picture every pass.

    images, masks = augment(images, masks, ("flip", "rotate", "colour"), key)

The layers are core Keras's where it has them; what they draw follows from the key alone, so
that a training that goes on after a stop sees what it would have seen. Masks take the nearest
label: no label is made up, and what is ignored stays ignored. What comes from beyond an edge is
its reflection.

    flip       left and right change places in half of the images
    rotate     by up to 15 degrees either way
    zoom       by up to 25 % in or out
    translate  by up to 10 % of each side
    crop       a part of 60 to 100 % of each side, enlarged to the whole
    mosaic     parts of four images of the batch, joined (keras-cv's)
    colour     brightness and contrast by up to 20 %; of three channels hue and saturation too
    grid_mask  black squares hide a quarter of the image, and nothing of the mask (keras-cv's)
"""

import functools
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfreuse import kerascv

_TURN = 15 / 360  # of a full turn
_ZOOM, _SHIFT, _TONE, _HUE = 0.25, 0.1, 0.2, 0.05
_SMALLEST = 0.6  # side of a part that is cut out, of the whole
_SATURATION = (0.4, 0.6)  # 0.5 leaves it as it is
_GEOMETRIC = ("flip", "rotate", "zoom", "translate")


def augment(
    images: tf.Tensor, masks: tf.Tensor, names: Sequence[str], key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Changed copies; a pure function.

    Args:
        images: float32 [B, H, W, C] in [0, 1].
        masks: int32 [B, H, W].
        names: some of specs.AUGMENTATIONS, in any order; done in the order above.
        key: int32 or int64 [2], of all draws.

    Returns:
        images float32 [B, H, W, C] in [0, 1], and masks int32 [B, H, W].
    """
    seeds, labels = _Seeds(key), tf.cast(masks[..., None], tf.float32)
    for name in _GEOMETRIC:
        if name in names:
            layer = _layers(name, images.shape[-1])[0]
            drawn = layer.get_random_transformation(images, seed=seeds)
            images = layer.transform_images(images, drawn)
            labels = layer.transform_segmentation_masks(labels, drawn)
    if "crop" in names:
        images, labels = _cropped(images, labels, seeds.next())
    if "mosaic" in names:
        images, labels = kerascv.mosaic(images, labels, seeds.next())
    if "colour" in names:
        for layer in _layers("colour", images.shape[-1]):
            drawn = layer.get_random_transformation(images, seed=seeds)
            images = layer.transform_images(images, drawn)
    if "grid_mask" in names:
        images = kerascv.grid_mask(images, seeds.next())
    masks = tf.cast(tf.round(labels[..., 0]), tf.int32)
    return tf.clip_by_value(images, 0.0, 1.0), masks


class _Seeds(keras.random.SeedGenerator):
    """As Keras's layers draw from, but its seeds follow from a key and from nothing else."""

    def __init__(self, key: tf.Tensor) -> None:  # no state: it would outlive a batch
        self._key, self._drawn = tf.cast(key, tf.int32), 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        self._drawn += 1
        return tf.random.experimental.stateless_fold_in(self._key, self._drawn)


@functools.cache
def _layers(name: str, channels: int) -> list[keras.layers.Layer]:
    layers, unit = keras.layers, {"value_range": (0.0, 1.0)}
    if name != "colour":
        makers = {
            "flip": lambda: layers.RandomFlip("horizontal"),
            "rotate": lambda: layers.RandomRotation(_TURN),
            "zoom": lambda: layers.RandomZoom(_ZOOM),
            "translate": lambda: layers.RandomTranslation(_SHIFT, _SHIFT),
        }
        return [makers[name]()]
    found = [layers.RandomBrightness(_TONE, **unit)]
    found.append(layers.RandomContrast(_TONE, **unit))
    if channels == 3:
        found.append(layers.RandomHue(_HUE, **unit))
        found.append(layers.RandomSaturation(_SATURATION, **unit))
    return found


def _cropped(
    images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """A part of each image, enlarged, and the same part of its labels."""
    count = tf.shape(images)[0]
    draw = tf.random.stateless_uniform([count, 4], key)
    side = _SMALLEST + (1 - _SMALLEST) * draw[:, :2]
    start = (1 - side) * draw[:, 2:]
    boxes = tf.concat([start, start + side], axis=1)  # y1, x1, y2, x2
    size, which = tf.shape(images)[1:3], tf.range(count)
    crop = tf.image.crop_and_resize
    small = crop(images, boxes, which, size, method="bilinear")
    found = crop(labels, boxes, which, size, method="nearest")
    shapes = images.shape, labels.shape
    return tuple(map(tf.ensure_shape, (small, found), shapes))
