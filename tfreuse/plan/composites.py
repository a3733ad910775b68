"""Layers of PyTorch whose weight is computed from several arrays, none of which means it alone.

kind = of(["weight_g", "weight_v", "bias"])   # weight normalization
kind.main                                     # "weight_v", which has the weight's shape
"""

import dataclasses
import re
from collections.abc import Iterable

from tfreuse.plan.variables import Layer


@dataclasses.dataclass(frozen=True)
class Composite:
    """A way to compute a weight.

    Attributes:
        title: its name.
        sign: pattern on the name of an array that only such layers have.
        main: names of arrays that may have the weight's shape.
        remedy: code of PyTorch that makes a plain weight; "" where none does.
    """

    title: str
    sign: str
    main: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        if not self.remedy:
            return (
                f"{self.title}, whose arrays have another order in Keras: leave it out"
            )
        return f"{self.title}; where PyTorch is, save state_dict() after {self.remedy}"


_REMOVE = "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight')"
_KINDS = (
    Composite(
        "weight normalization (weight_g, weight_v)",
        r"weight_g",
        ("weight_v",),
        "torch.nn.utils.remove_weight_norm(module)",
    ),
    Composite(
        "spectral normalization (weight_orig, weight_u)",
        r"weight_u",
        ("weight_orig",),
        "torch.nn.utils.remove_spectral_norm(module)",
    ),
    Composite(
        "pruned (weight_orig, weight_mask)",
        r"(weight|bias)_mask",
        ("weight_orig", "weight"),
        "torch.nn.utils.prune.remove(module, 'weight')",
    ),
    Composite(
        "weight normalization (original0, original1)",
        r"weight\.original0",
        ("weight.original1",),
        _REMOVE,
    ),
    Composite(
        "a parametrization such as spectral normalization (original)",
        r"(weight|bias)\.original\d*",
        ("weight.original", "weight"),
        _REMOVE,
    ),
    Composite(
        "LoRA (lora_A, lora_B)",
        r"lora_(A|B|embedding_A|embedding_B|magnitude_vector)(\..*)?",
        ("base_layer.weight", "weight"),
        "model = model.merge_and_unload()",
    ),
    Composite(
        "quantized (whole numbers and their scale)",
        r"zero_point|weight_scale(_inv)?|_packed_params.*|base_layer\.weight\..*",
        ("weight",),
        "loading the float weights, before they are converted",
    ),
    Composite(
        "an LSTM or GRU (weight_ih_l0, weight_hh_l0)", r"weight_(ih|hh)_l\d+.*", (), ""
    ),
    Composite("MultiheadAttention (in_proj_weight)", r"in_proj_weight", (), ""),
)
# Parts of a module's name from which on it is of the layer before.
_INNER = re.compile(
    r"\.(?=(parametrizations|base_layer|lora_[A-Za-z_]+|_packed_params)(\.|$))"
)


def of(names: Iterable[str]) -> Composite | None:
    """Returns how a layer with arrays of these names computes its weight; None if it is plain."""
    names = list(names)
    for kind in _KINDS:
        if any(re.fullmatch(kind.sign, name) for name in names):
            return kind
    return None


def of_layer(layer: Layer) -> Composite | None:
    """Returns how a layer of unknown roles computes its weight; see `of`."""
    if any(variable.role for variable in layer.variables):
        return None
    return of(variable.name for variable in layer.variables)


def split(name: str) -> tuple[str, str]:
    """Returns the layer of an array of a state dict, and the array's name in it.

    ("conv", "weight") of "conv.weight", ("conv", "lora_A.default.weight") of
    "conv.lora_A.default.weight".
    """
    inner = _INNER.search(name)
    if inner is None:
        layer, _, last = name.rpartition(".")
        return layer, last
    last = name[inner.end() :]
    return name[: inner.start()], last.removeprefix("parametrizations.")
