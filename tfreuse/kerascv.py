"""What is taken from keras-cv, imported only when it is asked for (it takes a second).

    encoder = kerascv.resnet("ResNet50V2")
    images, labels = kerascv.mosaic(images, labels, key)
    images = kerascv.grid_mask(images, key)

keras-cv 0.9 is its last release; this is all that touches it. Its presets need a network, its
constructors do not. Its augmenters draw from generators that have a state; here their draws
follow from a key, as all of ours do.
"""

import functools

import keras
import tensorflow as tf

# Its classes take sizes; those of He et al. 2016 (arXiv:1512.03385, table 1): blocks a stage,
# and whether a block has three convolutions ("block") or two.
_RESNETS = {
    "ResNet18": ((2, 2, 2, 2), "basic_block"),
    "ResNet34": ((3, 4, 6, 3), "basic_block"),
    "ResNet50": ((3, 4, 6, 3), "block"),
    "ResNet101": ((3, 4, 23, 3), "block"),
    "ResNet152": ((3, 8, 36, 3), "block"),
}
_V2 = "V2"  # after the name: batch normalization and ReLU before each convolution
RESNETS = tuple(f"{name}{version}" for name in _RESNETS for version in ("", _V2))
_CENTRE = (0.25, 0.75)  # of each side, where four images of a mosaic meet
_HIDDEN = 0.5  # side of a hidden square, of the grid's unit


def resnet(name: str) -> keras.Model:
    """One of RESNETS without a head: images [B, H, W, 3] in [0, 1] to [B, H / 32, W / 32, C]."""
    import keras_cv

    blocks, block_type = _RESNETS[name.removesuffix(_V2)]
    backbones = keras_cv.models
    second = name.endswith(_V2)
    make = backbones.ResNetV2Backbone if second else backbones.ResNetBackbone
    return make(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=list(blocks),
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        block_type=block_type,
    )


def mosaic(
    images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Of each image and three others of the batch a part, joined around a point near the middle.

    Bochkovskiy et al. 2020, arXiv:2004.10934, section 3.3.

    Args:
        images: float32 [B, H, W, C].
        labels: float32 [B, H, W, 1].
        key: int32 [2], of all draws.
    """
    count = tf.shape(images)[0]
    own, centres = tf.unstack(tf.random.experimental.stateless_split(key, 2))
    others = tf.random.stateless_uniform([count, 3], own, 0, count, tf.int32)
    drawn = {
        "permutation_order": tf.concat([tf.range(count)[:, None], others], axis=1),
        "mosaic_centers": tf.random.stateless_uniform([count, 2], centres, *_CENTRE),
    }
    layer = _layer("Mosaic")
    return (
        layer.augment_images(images, drawn),
        layer.augment_segmentation_masks(labels, drawn),
    )


def grid_mask(images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Hides a grid of black squares, of another size and place in each image [B, H, W, C].

    Chen et al. 2020, arXiv:2001.04086; upright.
    """
    layer = _layer("GridMask")

    def one(number: tf.Tensor) -> tf.Tensor:
        own = tf.random.experimental.stateless_fold_in(key, number)
        layer._random_generator = _Keyed(own)
        image = images[number]
        return layer.augment_image(image, layer.get_random_transformation(image=image))

    numbers = tf.range(tf.shape(images)[0])
    return tf.map_fn(one, numbers, fn_output_signature=images.dtype)


@functools.cache
def _layer(name: str) -> keras.layers.Layer:
    import keras_cv

    if name == "Mosaic":
        return keras_cv.layers.Mosaic()
    return keras_cv.layers.GridMask(
        ratio_factor=(_HIDDEN, _HIDDEN), rotation_factor=0.0
    )


class _Keyed:
    """Stands for a layer's generator: what it gives follows from a key."""

    def __init__(self, key: tf.Tensor) -> None:
        self._key, self._drawn = key, 0

    def uniform(self, shape, minval=0.0, maxval=1.0, dtype=tf.float32) -> tf.Tensor:
        self._drawn += 1
        own = tf.random.experimental.stateless_fold_in(self._key, self._drawn)
        return tf.random.stateless_uniform(shape, own, minval, maxval, dtype)
