"""How much a network computes."""

import math

import keras

from tfreuse.models import graph


def multiplications(model: keras.Model, image_size: tuple[int, int]) -> dict[str, int]:
    """Multiplications by each layer's kernel for one image [H, W, C], by the layer's name.

    A layer that is called several times counts each time.
    """
    found: dict[str, int] = {}
    called = graph.calls(model, image_size)
    for layer in model.layers:
        kernel = next((v for v in layer.weights if len(v.shape) > 1), None)
        if kernel is None:
            continue
        # a transposed kernel is laid on every place of the input
        transposed = isinstance(layer, keras.layers.Conv2DTranspose)
        places = sum(
            math.prod((taken if transposed else given)[1:-1])
            for taken, given in called[layer.name]
        )
        found[layer.name] = places * math.prod(kernel.shape)
    return found
