"""Translates Keras 1's names of arrays and settings; its files otherwise are those of Keras 2.

    scoped("block1_conv1_W_1:0")  # "block1_conv1/W:0": layer and array, as Keras 2 separates them

TensorFlow's names end in ":0". Theano's do not, and its convolutions mirror their kernels: these
arrays get no role. The layout of these files was read from Keras 1.2.2.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tfreuse.checkpoints.arrays import StoredArray

# Names of arrays in Keras 1 and in Keras 2; running_std holds a variance.
_ARRAYS = {
    "W": "kernel",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
    "depthwise_kernel": "depthwise_kernel",
    "pointwise_kernel": "pointwise_kernel",
}
_NAME = re.compile(rf"(.+)_({'|'.join(_ARRAYS)})(?:_\d+)?:0")
_SETTINGS = {"subsample": "strides", "bias": "use_bias"}
Array = tuple[str, str, StoredArray]  # path of the layer, name in the layer, array
_ORDERINGS = {"tf": "channels_last", "th": "channels_first"}
_MODES = (None, 0, 2)  # of a batch normalization; 1 is another function
# Classes whose arrays have the same layout in Keras 2.
_SAME = ("Dense", "BatchNormalization", "Convolution2D", "SeparableConvolution2D")


def is_version(version: Any) -> bool:
    """Returns whether a file is of Keras 1, which names its version in whole models alone."""
    return version is None or str(version).startswith("1.")


def scoped(name: str) -> str:
    """Returns a name of a weight with its layer as scope; unchanged if it is of no known form."""
    match = _NAME.fullmatch(name) if "/" not in name else None
    return f"{match[1]}/{match[2]}:0" if match else name


def renamed(arrays: Iterable[Array], layers: Mapping[str, Any]) -> list[Array]:
    """Returns arrays with their names in Keras 2.

    Arrays of a layer with another layout, or an unknown one, keep their names and thus have
    no role.

    Args:
        arrays: (path of the layer, name in the layer, array).
        layers: `configs.Layer` by path, as far as the file has the configuration.
    """
    by_layer: dict[str, dict[str, StoredArray]] = {}
    arrays = [(path, name.removesuffix(":0"), stored) for path, name, stored in arrays]
    for path, name, stored in arrays:
        by_layer.setdefault(path, {})[name] = stored
    same = {
        path: _same(members, layers.get(path)) for path, members in by_layer.items()
    }
    return [
        (path, _ARRAYS.get(name, name) if same[path] else name, stored)
        for path, name, stored in arrays
    ]


def _same(arrays: Mapping[str, StoredArray], layer: Any) -> bool:
    """Returns whether the arrays of a layer have the layout that they have in Keras 2."""
    if layer is not None:
        ordering, mode = (layer.config.get(k) for k in ("dim_ordering", "mode"))
        return layer.class_name in _SAME and ordering in (None, "tf") and mode in _MODES
    if "W" not in arrays or len(arrays["W"].shape) == 2:
        return "depthwise_kernel" not in arrays
    shape, bias = arrays["W"].shape, arrays.get("b")
    # [H, W, C, filters], not [filters, C, H, W]
    return (
        len(shape) == 4 and bias is not None and shape[-1] == bias.shape[0] != shape[0]
    )


def settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a layer's configuration with the settings' names in Keras 2 too."""
    ordering = _ORDERINGS.get(str(config.get("dim_ordering")))
    renamed = {new: config[old] for old, new in _SETTINGS.items() if old in config}
    if ordering:
        renamed["data_format"] = ordering
    return {**renamed, **config} if renamed else config
