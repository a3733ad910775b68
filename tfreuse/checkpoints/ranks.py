"""Finds how many axes the input of a normalization has, which gives its axis a meaning.

Axis 1 of an input [B, C] is axis -1; axis 1 of [B, C, H, W] is not. A file states the shape of a
layer's input beside the layer (`.keras`) or its connections (Keras 3), or not at all (`.h5` of
Keras 1 and 2, Sequential `.h5`): it then follows from the layers before.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

# Classes whose output has as many axes as their input.
_SAME_RANK = frozenset(
    (
        *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "ThresholdedReLU"),
        *("Softmax", "Dense", "BatchNormalization", "LayerNormalization"),
        *("GroupNormalization", "Dropout", "GaussianNoise", "GaussianDropout"),
        *("AlphaDropout", "Masking", "Permute", "Rescaling", "Normalization"),
        *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"),
        *("Concatenate", "Merge", "Identity", "ActivityRegularization"),
    )
)
_SPATIAL = re.compile(
    r"(?:(?:Separable|Depthwise|Atrous)?Conv(?:olution)?|Deconvolution|UpSampling|ZeroPadding"
    r"|Cropping|SpatialDropout|(?:Global)?(?:Average|Max)Pooling)(\d)D(?:Transpose)?"
)
_OTHER_RANK = {"Flatten": 2, "RepeatVector": 3}


def of_shape(shape: Any) -> int | None:
    """Returns the number of axes of a shape; None if the value is no shape."""
    if not isinstance(shape, list | tuple) or not shape:
        return None
    sides = all(side is None or isinstance(side, int) for side in shape)
    return len(shape) if sides else None


def input_shape(config: Mapping[str, Any]) -> Any:
    """Returns the shape that the configuration of an input states; Keras 2 has another key."""
    return config.get("batch_shape") or config.get("batch_input_shape")


def with_ranks(
    layers: Mapping[str, Any],
    edges: Mapping[str, tuple[str, ...]],
    shapes: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the layers of a configuration, those with an axis with the rank of their input.

    Args:
        layers: `configs.Layer` by path.
        edges: paths that each layer reads from, by its path.
        shapes: shapes of the inputs that the configuration states, by path.
    """
    ranked = dict(layers)
    for path, layer in layers.items():
        if "axis" in layer.config:
            rank = _of_input(path, layers, edges, shapes)
            ranked[path] = dataclasses.replace(layer, rank=rank)
    return ranked


def _of_input(path: str, layers, edges, shapes) -> int | None:
    visited: set[str] = set()
    while path in layers and path not in visited:
        visited.add(path)
        stated = shapes.get(path) or layers[path].config.get("batch_input_shape")
        if stated:
            return of_shape(stated)
        before = edges.get(path)
        source = layers.get(before[0]) if before else None
        if source is None:
            return None
        rank = _of_output(source.class_name, source.config)
        if rank or source.class_name not in _SAME_RANK:
            return rank
        path = source.path
    return None


def _of_output(class_name: str, config: Mapping[str, Any]) -> int | None:
    """Returns the number of axes that a class makes whatever it reads; None if it depends."""
    if class_name == "InputLayer":
        return of_shape(input_shape(config))
    if class_name == "Reshape":
        target = of_shape(config.get("target_shape"))
        return target and target + 1
    spatial = _SPATIAL.fullmatch(class_name)
    if spatial is None:
        return _OTHER_RANK.get(class_name)
    flat = class_name.startswith("Global") and not config.get("keepdims")
    return 2 if flat else int(spatial[1]) + 2
