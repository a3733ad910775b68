"""Descriptions of a model's variables and layers, the same for live models and for files.

    layers = by_layer(variables)     # {"backbone/conv1_bn": Layer(...), ...}
    stage("encoder_10_a_conv")       # "encoder_10"

No values and no TensorFlow here.
"""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tfreuse.errors import printable

# The grammar of tfreuse's networks first, then the names that common encoders give stages.
_STAGE = re.compile(
    r"(encoder_\d+|decoder_\d+|bottleneck|conv\d+|pool1|pyramid|fusion|head|auxiliary)_"
)
_FOREIGN_STAGE = re.compile(r"(.*?(?:stage|stack|block|layer)_?\d+)(?:[_.]|$)")


@dataclasses.dataclass(frozen=True)
class Variable:
    """One variable of a model.

    Attributes:
        path: unique in the model: names of the nested models, name of the layer, and position
            in `layer.get_weights()`, e.g. "backbone/conv1_bn/2".
        layer: name of the layer.
        class_name: class of the layer; "" if unknown.
        role: None where the class is unknown; such a variable moves only with its whole layer.
        position: index in `layer.get_weights()`; -1 if the file does not say.
        shape, dtype: of the array.
        settings: of the layer, see `roles.layer_settings`: epsilon, axis, strides ...
        name: Keras's name of an array without a role; "" if it is not known.
    """

    path: str
    layer: str
    class_name: str
    role: str | None
    position: int
    shape: tuple[int, ...]
    dtype: str
    settings: tuple[tuple[str, Any], ...] = ()
    name: str = ""

    @property
    def layer_path(self) -> str:
        """The path without the position: "backbone/conv1_bn"."""
        return self.path.rpartition("/")[0]

    @property
    def size(self) -> int:
        """Count of its numbers."""
        size = 1
        for side in self.shape:
            size *= side
        return size

    @property
    def bytes(self) -> int:
        """Size in bytes; 4 a number where the name of the type has no width, as in bool."""
        bits = re.search(r"\d+", self.dtype)
        return self.size * (int(bits[0]) // 8 if bits else 4)

    def __str__(self) -> str:
        if self.role is None:
            return printable(self.path)
        return f"{printable(self.layer_path)}:{self.role}"


@dataclasses.dataclass(frozen=True)
class Layer:
    """The variables of one layer, in the order of `get_weights`."""

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
        """Variables by role and index within the role.

        Not by position: a batch normalization without gamma has beta at position 0. The
        index distinguishes the two kernels of a separable convolution.
        """
        count: Counter[str | None] = Counter()
        by_role = {}
        for variable in self.variables:
            by_role[variable.role, count[variable.role]] = variable
            count[variable.role] += 1
        return by_role

    @functools.cached_property
    def signature(self) -> tuple:
        """Class, roles and shapes: equal for layers that position in the graph may pair."""
        return self.class_name, tuple((v.role, v.shape) for v in self.variables)


def by_layer(variables: Iterable[Variable]) -> dict[str, Layer]:
    """Groups variables by layer path, in the order of their first variables."""
    members_of: dict[str, list[Variable]] = {}
    for variable in variables:
        members_of.setdefault(variable.layer_path, []).append(variable)
    return {path: Layer(path, tuple(members)) for path, members in members_of.items()}


@functools.lru_cache(maxsize=4096)
def stage(layer_name: str) -> str:
    """Returns the stage of a layer: "encoder_1" of "encoder_1_a_conv", "conv4" of
    "conv4_block6_2_bn".

    tfreuse's own grammar decides (`tfreuse.models.stage_of`); a foreign name is cut after its
    first numbered stage, stack, block or layer, else up to its first digit or underscore.
    """
    match = _STAGE.match(layer_name) or _FOREIGN_STAGE.match(layer_name)
    if match:
        return match[1]
    return re.split(r"[_\d]", layer_name, maxsplit=1)[0] or layer_name
