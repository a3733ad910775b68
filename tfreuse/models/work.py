"""How much a network computes."""

import math

import keras


def multiplications(model: keras.Model, image_size: tuple[int, int]) -> dict[str, int]:
    """Multiplications by each layer's kernel for one image [H, W, C], by the layer's name.

    A layer that is called several times counts each time.
    """
    found: dict[str, int] = {}

    def call(layer, *args, **kwargs):
        output = layer(*args, **kwargs)
        kernel = next((v for v in layer.weights if len(v.shape) > 1), None)
        if kernel is not None:
            # a transposed kernel is laid on every place of the input
            transposed = isinstance(layer, keras.layers.Conv2DTranspose)
            places = args[0].shape if transposed else output.shape
            number = math.prod(places[1:-1]) * math.prod(kernel.shape)
            found[layer.name] = found.get(layer.name, 0) + number
        return output

    keras.models.clone_model(
        model,
        input_tensors=keras.Input((*image_size, model.input.shape[-1])),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    return found
