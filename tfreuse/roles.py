"""Roles of a layer's parameters (kernel, bias, gamma, ...), and groups: named sets of roles.

Roles follow from the layer's class and configuration, never from the position alone: a
BatchNormalization with `scale=False` has no gamma, so its first array is beta.

    layer_roles("BatchNormalization", {"scale": False})
    # ("beta", "moving_mean", "moving_variance")
    layer_settings({"epsilon": 1e-3, "axis": [3], "name": "bn"})
    # (("axis", 3), ("epsilon", 0.001))
"""

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

_KERNEL_LAYERS = frozenset(
    f"{kind}{rank}D{transpose}"
    for kind, transpose in (("Conv", ""), ("Conv", "Transpose"), ("DepthwiseConv", ""))
    for rank in (1, 2, 3)
) | {"Dense"}
_SEPARABLE_LAYERS = frozenset(("SeparableConv1D", "SeparableConv2D"))
_AFFINE_LAYERS = frozenset(("LayerNormalization", "GroupNormalization"))

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


def layer_settings(config: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Returns the settings that donor and recipient layers should share, sorted by name.

    Args:
        config: configuration as of `layer.get_config()`, live or read from a file.

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
    return tuple(settings)


def layer_roles(
    class_name: str, config: Mapping[str, Any]
) -> tuple[str | None, ...] | None:
    """Returns the roles of a layer's arrays, in the order of `get_weights`.

    Args:
        class_name: the layer's class, e.g. "Conv2D".
        config: configuration as of `layer.get_config()`; missing keys have Keras's defaults.

    Returns:
        a role per array, None for the sample count of Normalization; or None for the whole if
        the class is unknown.
    """
    bias = ("bias",) if config.get("use_bias", True) else ()
    gamma = ("gamma",) if config.get("scale", True) else ()
    beta = ("beta",) if config.get("center", True) else ()
    if class_name in _KERNEL_LAYERS:
        return ("kernel", *bias)
    if class_name in _SEPARABLE_LAYERS:
        return ("kernel", "kernel", *bias)  # depthwise, then pointwise
    if class_name == "BatchNormalization" and not config.get("renorm", False):
        return (*gamma, *beta, "moving_mean", "moving_variance")
    if class_name in _AFFINE_LAYERS:
        return (*gamma, *beta)
    if class_name == "Normalization":  # of a model's inputs, by fixed statistics
        return ("moving_mean", "moving_variance", None)
    return None


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
