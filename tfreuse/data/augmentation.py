"""Data augmentation of images together with their masks.

    images, masks = augment(images, masks, ("flip", "rotate", "colour"), key)

Layers are core Keras's where it has them. All draws depend on the key alone, so that a resumed
training sees the same images as an uninterrupted one. Masks take the nearest label, so that no
new label arises and ignored pixels stay ignored. Pixels beyond an edge are reflected.

    flip       left and right are exchanged in half of the images
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
_SMALLEST = 0.6  # side of a crop, as a share of the image's
_SATURATION = (0.4, 0.6)  # 0.5 leaves an image unchanged
_GEOMETRIC = ("flip", "rotate", "zoom", "translate")


def augment(
    images: tf.Tensor, masks: tf.Tensor, names: Sequence[str], key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns augmented copies; a pure function.

    Args:
        images: float32 [B, H, W, C] in [0, 1].
        masks: int32 [B, H, W].
        names: some of specs.AUGMENTATIONS, in any order; applied in the order above.
        key: int32 or int64 [2], the seed of all draws.

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
    """A generator for Keras's layers whose seeds depend on a key and nothing else.

    Does not call the base class's constructor, which would create a variable that outlives
    the batch.
    """

    def __init__(self, key: tf.Tensor) -> None:
        self._key, self._drawn = tf.cast(key, tf.int32), 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        self._drawn += 1
        return tf.random.experimental.stateless_fold_in(self._key, self._drawn)


@functools.cache
def _layers(name: str, channels: int) -> list[keras.layers.Layer]:
    """Returns the layers of an augmentation, created once."""
    layers, unit = keras.layers, {"value_range": (0.0, 1.0)}
    if name != "colour":
        makers = {
            "flip": lambda: layers.RandomFlip("horizontal"),
            "rotate": lambda: layers.RandomRotation(_TURN),
            "zoom": lambda: layers.RandomZoom(_ZOOM),
            "translate": lambda: layers.RandomTranslation(_SHIFT, _SHIFT),
        }
        return [makers[name]()]
    tones = [
        layers.RandomBrightness(_TONE, **unit),
        layers.RandomContrast(_TONE, **unit),
    ]
    if channels == 3:
        tones.append(layers.RandomHue(_HUE, **unit))
        tones.append(layers.RandomSaturation(_SATURATION, **unit))
    return tones


def _cropped(
    images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Crops each image and its labels to the same random box, scaled to the full size."""
    count = tf.shape(images)[0]
    draw = tf.random.stateless_uniform([count, 4], key)
    side = _SMALLEST + (1 - _SMALLEST) * draw[:, :2]
    start = (1 - side) * draw[:, 2:]
    boxes = tf.concat([start, start + side], axis=1)  # y1, x1, y2, x2
    size, index = tf.shape(images)[1:3], tf.range(count)
    crop = tf.image.crop_and_resize
    image_crops = crop(images, boxes, index, size, method="bilinear")
    label_crops = crop(labels, boxes, index, size, method="nearest")
    shapes = images.shape, labels.shape  # crop_and_resize loses the static sides
    return tuple(map(tf.ensure_shape, (image_crops, label_crops), shapes))
