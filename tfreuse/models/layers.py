"""Layers that core Keras lacks or whose stock form needs a fixed image size.

Keras 3.15's bilinear UpSampling2D and AdaptiveAveragePooling2D fail in a graph whose image
size is free: in `fit` on images of several sizes, and in `export`.
"""

import functools

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable("tfreuse")
class ResizeLike(keras.layers.Layer):
    """Resizes to the height and width of a second tensor: bilinear, half-pixel centres.

    `layer(features, like)`: [B, h, w, K], [B, H, W, C] -> [B, H, W, K].
    """

    def call(self, features, like):
        # tf.image.resize returns float32 for every input type, and XLA has no gradient for
        # it from bfloat16; so the cast is done here.
        features = tf.cast(features, tf.float32)
        resized = tf.image.resize(features, tf.shape(like)[1:3])
        return tf.cast(resized, self.compute_dtype)

    def compute_output_shape(self, features_shape, like_shape):
        return (features_shape[0], *like_shape[1:3], features_shape[3])


@keras.saving.register_keras_serializable("tfreuse")
class ResizeBy(keras.layers.Layer):
    """Resizes by whole factors, as keras.layers.UpSampling2D: [B, H, W, C] -> [B, f H, g W, C]."""

    def __init__(self, size: tuple[int, int], interpolation: str, **kwargs):
        super().__init__(**kwargs)
        self.size, self.interpolation = tuple(size), interpolation

    def call(self, features):
        sides = tf.shape(features)[1:3] * self.size
        resized = tf.image.resize(features, sides, self.interpolation)
        return tf.cast(resized, features.dtype)

    def compute_output_shape(self, features_shape):
        sides = zip(features_shape[1:3], self.size, strict=True)
        sides = (side and side * factor for side, factor in sides)
        return (features_shape[0], *sides, features_shape[3])

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "interpolation": self.interpolation,
        }


@keras.saving.register_keras_serializable("tfreuse")
class AdaptiveAveragePool(keras.layers.Layer):
    """Averages over a grid of bins x bins: [B, H, W, C] -> [B, bins, bins, C].

    Bin i of a side of S pixels covers floor(i S / bins) to ceil((i + 1) S / bins), as in
    keras.layers.AdaptiveAveragePooling2D: bins overlap where S is no multiple of them, and
    repeat pixels where S is smaller.
    """

    def __init__(self, bins: int, **kwargs):
        super().__init__(**kwargs)
        self.bins = bins

    def call(self, features):
        sides, channels = features.shape[1:3], features.shape[3]
        height, width = (
            tf.shape(features)[axis] if side is None else side
            for axis, side in enumerate(sides, start=1)
        )
        rows, columns = _averages(height, self.bins), _averages(width, self.bins)
        # One matrix product for both sides: two products would transpose the features twice.
        weights = rows[:, None, :, None] * columns[None, :, None, :]
        weights = tf.reshape(weights, (self.bins**2, -1))
        x = tf.cast(features, tf.float32)  # in bfloat16, 1/3 would be off by 0.2 %
        x = weights @ tf.reshape(x, (-1, height * width, channels))
        x = tf.reshape(x, (-1, self.bins, self.bins, channels))
        return tf.cast(x, self.compute_dtype)

    def compute_output_shape(self, features_shape):
        return (features_shape[0], self.bins, self.bins, features_shape[3])

    def get_config(self):
        return {**super().get_config(), "bins": self.bins}


@keras.saving.register_keras_serializable("tfreuse")
class ReverseChannels(keras.layers.Layer):
    """Reverses the order of channels, RGB to BGR or back: [B, H, W, C] -> [B, H, W, C]."""

    def call(self, images):
        return images[..., ::-1]

    def compute_output_shape(self, images_shape):
        return images_shape


def _averages(side: int | tf.Tensor, bins: int) -> np.ndarray | tf.Tensor:
    """Returns the matrix [bins, side] that averages `side` pixels into `bins` bins.

    Of a known side it is a constant, which spares the graph of a PSPNet 296 of 973 operations.
    """
    if isinstance(side, int):
        pixel, to_float = np.arange(side), np.float32
    else:
        pixel, to_float = tf.range(side), functools.partial(tf.cast, dtype=tf.float32)
    index = np.arange(bins, dtype=np.int32)[:, None]
    first = index * side // bins
    # Rounds up without a negative number, which ONNX's division would round the other way.
    end = ((index + 1) * side + bins - 1) // bins
    inside = (pixel >= first) & (pixel < end)
    return to_float(inside) / to_float(end - first)
