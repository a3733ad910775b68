"""Roles of a layer's parameters (kernel, bias, gamma, ...), and groups: named sets of roles.

Roles follow from the layer's class and configuration, never from the position alone: a
BatchNormalization with `scale=False` has no gamma, so its first array is beta.

    layer_roles("BatchNormalization", {"scale": False})
    # ("beta", "moving_mean", "moving_variance")
    layer_settings({"epsilon": 1e-3, "axis": [3], "name": "bn"})
    # (("axis", 3), ("epsilon", 0.001))
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tfreuse.errors import InputError, nearest

ROLES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")

GROUPS: dict[str, tuple[str, ...]] = {
    "stats": ("moving_mean", "moving_variance"),
    "affine": ("gamma", "beta"),
    "bn": ("gamma", "beta", "moving_mean", "moving_variance"),
    "conv": ("kernel", "bias"),
    "all": ROLES,
}

_DIMENSIONS = (1, 2, 3)

# Arrays of each class of layers: their names in Keras, in the order of `get_weights`.
_ARRAYS: dict[str, tuple[str, ...]] = {
    **{
        f"{kind}{rank}D{transpose}": ("kernel", "bias")
        for kind, transpose in (
            ("Conv", ""),
            ("Conv", "Transpose"),
            ("DepthwiseConv", ""),
        )
        for rank in _DIMENSIONS
    },
    **{
        f"SeparableConv{rank}D": ("depthwise_kernel", "pointwise_kernel", "bias")
        for rank in (1, 2)
    },
    "Dense": ("kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "LayerNormalization": ("gamma", "beta"),
    "GroupNormalization": ("gamma", "beta"),
    "Normalization": ("mean", "variance", "count"),  # of a model's inputs
}
CLASSES = tuple(_ARRAYS)
_RENORM = ("moving_stddev", "renorm_mean", "renorm_stddev")  # only training reads them
_SWITCHES = {"bias": "use_bias", "gamma": "scale", "beta": "center"}

# Role by the name of an array, whatever its class. Keras 2 calls the kernel of a depthwise
# convolution depthwise_kernel.
NAMED = {
    "kernel": "kernel",
    "depthwise_kernel": "kernel",
    "pointwise_kernel": "kernel",
    **{role: role for role in ROLES[1:]},
}
_OF_NORMALIZATION = {"mean": "moving_mean", "variance": "moving_variance"}

# Wrappers that compute a kernel from that of the layer in them and arrays of their own: weight
# normalization's direction and length, a mask, cluster centres, ranges of quantization.
CHANGING = (
    "WeightNormalization",
    "PruneLowMagnitude",
    "ClusterWeights",
    "QuantizeWrapper",
    "QuantizeWrapperV2",
)

_KEEPING = (
    "SpectralNormalization",
)  # wrappers that store the kernel that they compute

# Former and other names of classes.
_ALIASES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",  # Keras 3: synchronized=True
    **{f"Convolution{rank}D": f"Conv{rank}D" for rank in _DIMENSIONS},
    "Convolution2DTranspose": "Conv2DTranspose",
    "Deconvolution2D": "Conv2DTranspose",
    "DepthwiseConvolution2D": "DepthwiseConv2D",
    "SeparableConvolution2D": "SeparableConv2D",
}

_SETTINGS = (
    "axis",
    "data_format",
    "depth_multiplier",
    "dilation_rate",
    "epsilon",
    "groups",
    "momentum",
    "strides",
)


def layer_settings(
    config: Mapping[str, Any], rank: int | None = None
) -> tuple[tuple[str, Any], ...]:
    """Returns the settings that donor and recipient layers should share, sorted by name.

    Args:
        config: configuration as of `layer.get_config()`, live or read from a file.
        rank: number of axes of the layer's input, the batch axis included; it stands beside
            the axis, whose number it gives a meaning.

    Returns:
        (name, value) pairs. Lists become tuples, and an axis in a list of one becomes a number:
        a live layer and its saved configuration then give equal pairs.
    """
    settings = []
    for name in _SETTINGS:
        value = config.get(name)
        if isinstance(value, list | tuple):
            value = tuple(value)
            if name == "axis" and len(value) == 1:
                value = value[0]
        if value is not None:
            settings.append((name, value))
    if rank is not None and config.get("axis") is not None:
        settings.append(("rank", rank))
    return tuple(sorted(settings))


def class_of(name: str) -> str:
    """Returns the class whose arrays a class of this name has.

    "BatchNormalization" of SyncBatchNormalization; the package of a registered class
    ("package>Class") is left out.
    """
    name = name.rpartition(">")[2]
    return _ALIASES.get(name, name)


def changes_kernel(class_name: str, has_arrays: bool) -> bool:
    """Returns whether a wrapper computes with another kernel than that of the layer in it.

    Args:
        class_name: of the wrapper.
        has_arrays: whether it has arrays of its own, as weight normalization has a length. Of a
            class that is not known, they may change the kernel's meaning.
    """
    name = class_of(class_name)
    return name in CHANGING or (has_arrays and name not in _KEEPING)


def spellings(class_name: str) -> set[str]:
    """Returns a class and its other names."""
    return {class_name} | {old for old, new in _ALIASES.items() if new == class_name}


def array_names(
    class_name: str, config: Mapping[str, Any] | None = None
) -> tuple[str, ...] | None:
    """Returns Keras's names of a layer's arrays, in the order of `get_weights`.

    Args:
        class_name: class of the layer, e.g. "Conv2D".
        config: configuration as of `layer.get_config()`; missing keys have Keras's defaults.
            With None, all arrays that a layer of the class may have.

    Returns:
        None if the class is unknown.
    """
    names = _ARRAYS.get(class_of(class_name))
    if names is None:
        return None
    renorm = True if config is None else config.get("renorm", False)
    if class_of(class_name) == "BatchNormalization" and renorm:
        names += _RENORM
    if config is None:
        return names
    return tuple(name for name in names if config.get(_SWITCHES.get(name, ""), True))


def own_name(name: str) -> str:
    """Returns the name of an array; "" for "variable_3", which Keras makes up and numbers."""
    return "" if re.fullmatch(r"variable(_\d+)?", name) else name


def role_of(class_name: str, name: str) -> str | None:
    """Returns the role of an array by its name; None if it has none of the roles."""
    if class_of(class_name) == "Normalization":
        return _OF_NORMALIZATION.get(name)
    return NAMED.get(name)


def layer_roles(
    class_name: str, config: Mapping[str, Any]
) -> tuple[str | None, ...] | None:
    """Returns the roles of a layer's arrays, in the order of `get_weights`.

    Args:
        class_name: the layer's class, e.g. "Conv2D".
        config: configuration as of `layer.get_config()`; missing keys have Keras's defaults.

    Returns:
        a role per array, None for an array of another kind, such as the sample count of
        Normalization; or None for the whole if the class is unknown.
    """
    names = array_names(class_name, config)
    if names is None:
        return None
    return tuple(role_of(class_name, name) for name in names)


def expand(names: str | Iterable[str]) -> tuple[str, ...]:
    """Expands names of roles and groups to roles, in the order of ROLES, each once.

    Args:
        names: "stats,kernel" or ["stats", "kernel"]; a name may be a union: "stats+kernel".

    Raises:
        InputError: a name is neither a role nor a group, or there are no names.
    """
    names = names.split(",") if isinstance(names, str) else list(names)
    names = [name.strip() for union in names for name in union.split("+")]
    names = [name for name in names if name]
    valid = (*ROLES, *GROUPS)
    for name in names:
        if name not in valid:
            raise InputError(
                f"role or group {name!r} is unknown; nearest: {nearest(name, valid)}. "
                f"Roles: {', '.join(ROLES)}. Groups: {', '.join(GROUPS)}."
            )
    if not names:
        raise InputError(
            f"no role was named. Roles: {', '.join(ROLES)}. Groups: {', '.join(GROUPS)}."
        )
    selected = {role for name in names for role in GROUPS.get(name, (name,))}
    return tuple(role for role in ROLES if role in selected)
