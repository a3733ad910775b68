"""Descriptions of a model's arrays and layers, the same for live models and for files.

    layers = by_layer(variables)     # {"backbone/conv1_bn": Layer(...), ...}
    stage("encoder_10_a_conv")       # "encoder_10"

Nothing here holds a value or imports TensorFlow.
"""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tfreuse.errors import printable

# The grammar of tfreuse's own networks first, then what common encoders call their stages.
_STAGE = re.compile(
    r"(encoder_\d+|decoder_\d+|bottleneck|conv\d+|pool1|pyramid|fusion|head|auxiliary)_"
)
_FOREIGN_STAGE = re.compile(r"(.*?(?:stage|stack|block|layer)_?\d+)(?:_|$)")


@dataclasses.dataclass(frozen=True)
class Variable:
    """One array of a model.

    `path` is unique in the model: names of the nested models, the layer's name, and the
    position in `layer.get_weights()`, e.g. "backbone/conv1_bn/2". `role` is None where the
    layer's class is not known; such a variable is listed and never selected. `settings` is
    what `roles.layer_settings` says of its layer: epsilon, axis, strides ...
    """

    path: str
    layer: str
    class_name: str
    role: str | None
    position: int
    shape: tuple[int, ...]
    dtype: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def layer_path(self) -> str:
        """The path without the position: "backbone/conv1_bn"."""
        return self.path.rpartition("/")[0]

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        size = 1
        for side in self.shape:
            size *= side
        return size

    @property
    def bytes(self) -> int:
        """How many bytes it takes; 4 a number where the type's name tells no width."""
        bits = re.search(r"\d+", self.dtype)
        return self.size * (int(bits[0]) // 8 if bits else 4)

    def __str__(self) -> str:
        return f"{printable(self.layer_path)}:{self.role}"


@dataclasses.dataclass(frozen=True)
class Layer:
    """The arrays of one layer, in the order of `get_weights`."""

    path: str
    variables: tuple[Variable, ...]

    @property
    def name(self) -> str:
        return self.variables[0].layer

    @property
    def class_name(self) -> str:
        return self.variables[0].class_name

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.variables[0].settings)

    @functools.cached_property
    def by_role(self) -> dict[tuple[str | None, int], Variable]:
        """Variables by role and number within the role.

        Not by position: a batch normalization without gamma has beta at position 0. The
        number tells a separable convolution's two kernels apart.
        """
        count: Counter[str | None] = Counter()
        found = {}
        for variable in self.variables:
            found[variable.role, count[variable.role]] = variable
            count[variable.role] += 1
        return found

    @functools.cached_property
    def signature(self) -> tuple:
        """Class, roles and shapes: what two layers must share to be taken for the same."""
        return self.class_name, tuple((v.role, v.shape) for v in self.variables)


def by_layer(variables: Iterable[Variable]) -> dict[str, Layer]:
    """Layers by path, in the order in which their first variable comes."""
    found: dict[str, list[Variable]] = {}
    for variable in variables:
        found.setdefault(variable.layer_path, []).append(variable)
    return {path: Layer(path, tuple(members)) for path, members in found.items()}


@functools.lru_cache(maxsize=4096)
def stage(layer_name: str) -> str:
    """The stage of a layer: "encoder_1" of "encoder_1_a_conv", "conv4" of "conv4_block6_2_bn".

    tfreuse's own grammar decides (`tfreuse.models.stage_of`); a foreign name counts up to its
    first numbered stage, stack, block or layer, else up to its first digit or underscore.
    """
    match = _STAGE.match(layer_name) or _FOREIGN_STAGE.match(layer_name)
    if match:
        return match[1]
    return re.split(r"[_\d]", layer_name, maxsplit=1)[0] or layer_name
