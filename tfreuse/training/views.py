"""Makes views of a model: the same layers and variables, some layers computed in another way.

def call(layer, *args, **kwargs):
    ...                            # instead of layer(*args, **kwargs)
graph = views.view(model, call)
"""

from collections.abc import Callable
from typing import Any

import keras


def view(model: keras.Model, call: Callable[..., Any]) -> keras.Model:
    """Returns a view in which `call(layer, *args, **kwargs)` stands for each call of a layer.

    Models inside the model are entered. A model that is not a graph of layers (subclassed) is
    returned as it is.
    """
    model = as_graph(model)
    if not is_graph(model):
        return model
    inner: dict[int, keras.Model] = {}  # a model that is called twice has one view

    def enter(layer, *args, **kwargs):
        if isinstance(layer, keras.Model):
            if id(layer) not in inner:
                inner[id(layer)] = view(layer, call)
            return inner[id(layer)](*args, **kwargs)
        return call(layer, *args, **kwargs)

    return keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=enter
    )


def as_graph(model: keras.Model) -> keras.Model:
    """Returns the graph of a Sequential model; any other model as it is."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def is_graph(model: keras.Model) -> bool:
    """Returns whether the model is a graph of layers, not subclassed."""
    return hasattr(model, "_nodes_by_depth")
