"""What a parameter does in its layer: its role; and named sets of roles: groups.

Roles are read from the layer's class and configuration, never from the position alone:
a BatchNormalization with `scale=False` has no gamma, so its first array is beta.

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
    """What a layer's configuration says that matters when its arrays move, sorted by name.

    Args:
        config: what `layer.get_config()` returns, or the same read from a file.

    Returns:
        (name, value) pairs; lists have become tuples, and an axis in a list of one a number,
        so that a live layer and its saved form give the same.
    """
    found = []
    for name in _SETTINGS:
        value = config.get(name)
        if isinstance(value, list | tuple):
            value = tuple(value)
            if name == "axis" and len(value) == 1:
                value = value[0]
        if value is not None:
            found.append((name, value))
    return tuple(found)


def layer_roles(
    class_name: str, config: Mapping[str, Any]
) -> tuple[str | None, ...] | None:
    """Roles of a layer's arrays in the order of `get_weights`; None if the class is unknown.

    One array of a known class may have no role: the count that Normalization keeps.

    Args:
        class_name: the layer's class, e.g. "Conv2D".
        config: what `layer.get_config()` returns; a missing key counts as Keras's default.
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
    if class_name == "Normalization":  # of inputs, by the training set's statistics
        return ("moving_mean", "moving_variance", None)
    return None


def expand(names: str | Iterable[str]) -> tuple[str, ...]:
    """Roles named by roles and groups, in the order of ROLES, each once.

    Args:
        names: "stats,kernel" or ["stats", "kernel"]; "stats+kernel" counts as one name.

    Raises:
        InputError: a name is neither a role nor a group, or there is none.
    """
    names = names.split(",") if isinstance(names, str) else list(names)
    names = [name.strip() for union in names for name in union.split("+")]
    names = [name for name in names if name]
    known = (*ROLES, *GROUPS)
    for name in names:
        if name not in known:
            raise InputError(
                f"role or group {name!r} is unknown; nearest: {nearest(name, known)}. "
                f"Roles: {', '.join(ROLES)}. Groups: {', '.join(GROUPS)}."
            )
    if not names:
        raise InputError(
            f"no role was named. Roles: {', '.join(ROLES)}. Groups: {', '.join(GROUPS)}."
        )
    wanted = {role for name in names for role in GROUPS.get(name, (name,))}
    return tuple(role for role in ROLES if role in wanted)
