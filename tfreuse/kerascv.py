"""Adapter for keras-cv: encoders and augmentations, imported on first use (takes a second).

    encoder = kerascv.backbone("ResNet50V2")
    images, labels = kerascv.mosaic(images, labels, key)
    images = kerascv.grid_mask(images, key)

keras-cv 0.9 is its last release, and no other module imports it. Its presets would download
weights, its constructors do not. Its augmentation layers use stateful random generators; here
their draws follow from a key, as everywhere in tfreuse.
"""

import functools

import keras
import tensorflow as tf

from tfreuse.specs.encoders import EFFICIENTNET_LITE

# He et al. 2016 (arXiv:1512.03385, table 1): blocks per stage, and kind of block: with three
# convolutions ("block", a bottleneck) or with two.
_RESNETS = {
    "ResNet18": ((2, 2, 2, 2), "basic_block"),
    "ResNet34": ((3, 4, 6, 3), "basic_block"),
    "ResNet50": ((3, 4, 6, 3), "block"),
    "ResNet101": ((3, 4, 23, 3), "block"),
    "ResNet152": ((3, 8, 36, 3), "block"),
}
# Lite variant of Tan and Le 2019 (arXiv:1905.11946, table 1): without squeeze and excitation, and
# with ReLU6. Kernel, repeats, channels in and out, expansion and stride of each stage.
_EFFICIENTNET_LITE_B0 = {
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
    "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
    "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
    "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
}
_V2 = "V2"  # suffix: batch normalization and ReLU precede each convolution
_CENTRE = (
    0.25,
    0.75,
)  # range of the meeting point of four images, relative to each side
_MASKED = 0.5  # side of a black square, relative to the grid's period


def backbone(name: str) -> keras.Model:
    """Builds a backbone without a head: images [B, H, W, 3] -> [B, H / 32, W / 32, C].

    `specs.encoders` lists the names. Weights of the ResNets take images in [0, 1], those of
    EfficientNetLite in [-1, 1].
    """
    import keras_cv

    if name == EFFICIENTNET_LITE:
        return efficientnet_lite()
    blocks, block_type = _RESNETS[name.removesuffix(_V2)]
    backbones = keras_cv.models
    version_2 = name.endswith(_V2)
    build = backbones.ResNetV2Backbone if version_2 else backbones.ResNetBackbone
    return build(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=list(blocks),
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        block_type=block_type,
    )


def efficientnet_lite(width: float = 1.0, depth: float = 1.0) -> keras.Model:
    """Builds an EfficientNet Lite without a head; its sizes 1 and 2: (1.0, 1.1), (1.1, 1.2)."""
    import keras_cv

    return keras_cv.models.EfficientNetLiteBackbone(
        width_coefficient=width,
        depth_coefficient=depth,
        include_rescaling=False,
        **_EFFICIENTNET_LITE_B0,
    )


def mosaic(
    images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Joins parts of each image and of three random ones of the batch around a random point.

    Bochkovskiy et al. 2020, arXiv:2004.10934, section 3.3.

    Args:
        images: float32 [B, H, W, C].
        labels: float32 [B, H, W, 1].
        key: int32 [2], seed of all draws.

    Returns:
        images and labels, of the same shapes.
    """
    count = tf.shape(images)[0]
    key, centre_key = tf.unstack(tf.random.experimental.stateless_split(key, 2))
    partners = tf.random.stateless_uniform([count, 3], key, 0, count, tf.int32)
    draws = {
        "permutation_order": tf.concat([tf.range(count)[:, None], partners], axis=1),
        "mosaic_centers": tf.random.stateless_uniform([count, 2], centre_key, *_CENTRE),
    }
    layer = _layer("Mosaic")
    return (
        layer.augment_images(images, draws),
        layer.augment_segmentation_masks(labels, draws),
    )


def grid_mask(images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Masks images [B, H, W, C] with a grid of black squares; period and offset vary by image.

    Chen et al. 2020, arXiv:2001.04086; without their rotation.
    """
    layer = _layer("GridMask")

    def mask(index: tf.Tensor) -> tf.Tensor:
        image_key = tf.random.experimental.stateless_fold_in(key, index)
        layer._random_generator = _KeyedGenerator(image_key)
        image = images[index]
        return layer.augment_image(image, layer.get_random_transformation(image=image))

    indices = tf.range(tf.shape(images)[0])
    return tf.map_fn(mask, indices, fn_output_signature=images.dtype)


@functools.cache
def _layer(name: str) -> keras.layers.Layer:
    import keras_cv

    if name == "Mosaic":
        return keras_cv.layers.Mosaic()
    return keras_cv.layers.GridMask(
        ratio_factor=(_MASKED, _MASKED), rotation_factor=0.0
    )


class _KeyedGenerator:
    """Replaces a layer's random generator by draws that follow from a key."""

    def __init__(self, key: tf.Tensor) -> None:
        self._key, self._draws = key, 0

    def uniform(self, shape, minval=0.0, maxval=1.0, dtype=tf.float32) -> tf.Tensor:
        self._draws += 1
        draw_key = tf.random.experimental.stateless_fold_in(self._key, self._draws)
        return tf.random.stateless_uniform(shape, draw_key, minval, maxval, dtype)
