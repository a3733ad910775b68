"""Decodes an image file inside a served function to the same pixels as `data.pictures`."""

import tensorflow as tf

from tfreuse.specs import ReadingSpec

_PNG, _DEEP_GREY = b"\x89PNG", b"\x10\x00"  # begin of a file; bit depth 16, no colour


def decode(image_bytes: tf.Tensor, channels: int, reading: ReadingSpec) -> tf.Tensor:
    """Decodes a JPEG, PNG, BMP, GIF or WebP file to uint8 [H, W, channels], 1 or 3.

    Photos stay as they are stored: TensorFlow reads no EXIF marks. A graph that meets a partly
    transparent PNG without a background, or grey values of 16 bits, raises
    tf.errors.InvalidArgumentError.
    """
    file = tf.reshape(image_bytes, [])
    rgb = tf.cond(
        tf.io.is_jpeg(file),
        # Pillow's transform. TensorFlow's default differs by up to 5 levels.
        lambda: tf.io.decode_jpeg(file, 3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.cond(
            tf.strings.substr(file, 0, 4) == _PNG,
            lambda: _opaque(file, reading),
            lambda: tf.io.decode_image(file, 3, expand_animations=False),
        ),
    )
    if channels == 3:
        return rgb
    # Pillow's weights of ITU-R 601. TensorFlow's decoders have others, up to 18 levels off.
    red, green, blue = tf.unstack(tf.cast(rgb, tf.int32), axis=-1)
    grey = (red * 19595 + green * 38470 + blue * 7471 + 32768) // 65536
    return tf.cast(grey, tf.uint8)[..., None]


def _opaque(file: tf.Tensor, reading: ReadingSpec) -> tf.Tensor:
    """Decodes a PNG file and lays it on the background, uint8 [H, W, 3]."""
    depth = tf.debugging.Assert(
        tf.strings.substr(file, 24, 2) != _DEEP_GREY,
        ["The image has grey values of 16 bits; scale them to 0..255."],
    )
    with tf.control_dependencies([depth]):
        pixels = tf.cast(tf.io.decode_png(file, 4), tf.int32)
    rgb, alpha = pixels[..., :3], pixels[..., 3:]
    if reading.background:
        rgb = (rgb * alpha + reading.ground * (255 - alpha) + 127) // 255
        return tf.cast(rgb, tf.uint8)
    is_opaque = tf.debugging.Assert(
        tf.reduce_all(alpha == 255),
        ["The image is partly transparent; export the model with --background=RRGGBB."],
    )
    with tf.control_dependencies([is_opaque]):
        return tf.cast(rgb, tf.uint8)
