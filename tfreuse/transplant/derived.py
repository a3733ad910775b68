"""Keeps tensors that layers derive from their variables in line with the variables.

    derived.refresh(model)                  # after variables were assigned
    with derived.from_variables(model):     # while a function of the model is traced
        ...

`keras.layers.Normalization` computes with tensors that it derived from its mean and variance, and
assigning the variables does not derive them again (Keras 3.15). A function that was compiled
before, such as that of `predict`, holds the old ones even then.
"""

import contextlib
from collections.abc import Iterable, Iterator

import keras

from tfreuse.transplant import live


def normalizations(model: keras.Model) -> list[keras.layers.Normalization]:
    """Returns the model's Normalization layers whose statistics are variables, nested ones too."""
    return [layer for _, layer in live.every_layer(model) if _derives(layer)]


def copy_statistics(source: keras.Model, copy: keras.Model) -> None:
    """Gives a copy's Normalization layers the statistics that the source's were adapted to.

    They belong to the structure: nothing trains them. Layers are paired by path.
    """
    twins = dict(live.every_layer(copy))
    for path, layer in live.every_layer(source):
        if _derives(layer):
            twins[path].set_weights(layer.get_weights())
            twins[path].finalize_state()


def refresh(
    model: keras.Model, layers: Iterable[keras.layers.Layer] | None = None
) -> int:
    """Derives tensors again from the present variables; returns the number of such layers.

    Functions that Keras compiled for the model, and for models inside it, are dropped if there
    are such layers. The next `predict`, `evaluate` or `fit` compiles them again. A model that
    holds this one as a layer is unknown here: refresh the outermost model.

    Args:
        model: the model whose variables were assigned.
        layers: those of its layers that were assigned; None: all.
    """
    derived = (
        normalizations(model) if layers is None else list(filter(_derives, layers))
    )
    for layer in derived:
        layer.finalize_state()
    if derived:
        for part in (model, *(layer for _, layer in live.every_layer(model))):
            if isinstance(part, keras.Model):
                part.predict_function = part.test_function = part.train_function = None
    return len(derived)


@contextlib.contextmanager
def from_variables(model: keras.layers.Layer) -> Iterator[None]:
    """Makes a function that is traced in this block read the variables themselves."""
    layers = [model] if _derives(model) else normalizations(model)
    before = [(layer, layer.mean, layer.variance) for layer in layers]
    try:
        for layer in layers:
            layer.finalize_state()
        yield
    finally:  # tensors of the traced graph mean nothing outside it
        for layer, mean, variance in before:
            layer.mean, layer.variance = mean, variance


def _derives(layer: keras.layers.Layer) -> bool:
    adapts = isinstance(layer, keras.layers.Normalization) and layer.input_mean is None
    return adapts and layer.built
