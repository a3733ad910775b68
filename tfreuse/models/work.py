"""Counts the multiplications of a network."""

import math

import keras

from tfreuse.models import graph


def multiplications(model: keras.Model, image_size: tuple[int, int]) -> dict[str, int]:
    """Counts the multiplications by each layer's kernel for one image, by layer name.

    Args:
        model: a functional model.
        image_size: (H, W) of the image. A layer that is called several times counts each time.
    """
    counts: dict[str, int] = {}
    shapes = graph.calls(model, image_size)
    for layer in model.layers:
        kernel = next((v for v in layer.weights if len(v.shape) > 1), None)
        if kernel is None:
            continue
        # A convolution applies its kernel once per output pixel, a transposed one once per
        # input pixel.
        transposed = isinstance(layer, keras.layers.Conv2DTranspose)
        positions = sum(
            math.prod((input_shape if transposed else output_shape)[1:-1])
            for input_shape, output_shape in shapes[layer.name]
        )
        counts[layer.name] = positions * math.prod(kernel.shape)
    return counts
