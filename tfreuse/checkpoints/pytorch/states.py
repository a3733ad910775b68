"""Finds the state dict in a checkpoint of PyTorch, and the roles of its arrays.

PyTorch calls most arrays "weight" or "bias". Their roles follow from the arrays beside them: a
bias beside a running mean is a beta. Kernels are presented in Keras's order of axes:

    Conv2d             [out, in / groups, kh, kw] -> [kh, kw, in / groups, out]
    depthwise Conv2d   [channels * m, 1, kh, kw] -> [kh, kw, 1, channels * m]
    ConvTranspose2d    [in, out, kh, kw] -> [kh, kw, out, in]
    Linear             [out, in] -> [in, out]

All move the axes of space to the front and exchange the other two, so that the class of a
convolution, which is not in a state dict, is not needed.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tfreuse.checkpoints.archive import Member
from tfreuse.checkpoints.arrays import StoredArray, transposed
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.named import Unaddressed
from tfreuse.checkpoints.pytorch.tensors import Tensor
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable, composites
from tfreuse.plan.variables import by_layer

# Keys under which scripts of training keep the state dict, the first that is there wins.
_NESTED = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network"),
    *("module", "params", "weights", "state_dict_ema", "model_ema", "ema_state_dict"),
    *("params_ema", "ema"),
)
# `DataParallel` and `torch.compile` put these before all names.
_WRAPPERS = ("module.", "_orig_mod.")
_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_COUNT = "num_batches_tracked"  # of a batch normalization; Keras has no such array
_MAX_DEPTH = 4


@dataclasses.dataclass(frozen=True)
class Weights:
    """The arrays of a file, in PyTorch's order of axes, before they have roles.

    Attributes:
        arrays: by name, in the order of the file.
        remark: a line on arrays of the file that are left out; "" if there are none.
        members: members of a zip file, each with a checksum.
        ordered: whether the file has the order in which modules were registered.
    """

    arrays: dict[str, StoredArray]
    remark: str = ""
    members: tuple[Member, ...] = ()
    ordered: bool = True


def checkpoint(
    kind: str, source: Source, weights: Weights, shards: Iterable[Source] = ()
) -> Checkpoint:
    """Returns the open file whose arrays have PyTorch's names."""
    pairs, unaddressed, notes = variables(weights.arrays)
    layers = by_layer(variable for variable, _ in pairs).values()
    kinds = [composites.of_layer(layer) for layer in layers if not layer.class_name]
    if kinds and None not in kinds and len(kinds) == len(layers):
        raise InputError(
            f"{printable(source.path)} has no weights to move: all its layers are {kinds[0]}."
        )
    return Checkpoint(
        *(kind, source, pairs),
        unaddressed=unaddressed,
        notes=notes,
        members=weights.members,
        shards=shards,
        ordered=weights.ordered,
        pytorch=True,
        remark=weights.remark,
    )


def choose(tree: Any) -> tuple[dict[str, Tensor], str]:
    """Chooses the state dict of a checkpoint.

    Returns:
        tensors by name, without the prefixes of wrappers; and a line on dictionaries of tensors
        that are not read, as of averaged weights, "" if there are none.

    Raises:
        InputError: the checkpoint has no dictionary of tensors.
    """
    candidates = {key: state for key, state in _dictionaries(tree, "", 0)}
    if not candidates and isinstance(tree, dict) and "param_groups" in tree:
        raise InputError(
            "it is the state of an optimizer, without weights. Where it was made: "
            "torch.save(model.state_dict(), 'weights.pth')"
        )
    if not candidates:
        raise InputError(
            "it has no dictionary of tensors. Where it was made: "
            "torch.save(model.state_dict(), 'weights.pth')"
        )
    order = {name: number for number, name in enumerate(_NESTED)}

    def rank(key: str) -> tuple[bool, int]:
        return key != "", order.get(key.rpartition("/")[2], len(order))

    chosen = min(candidates, key=rank)
    unread = ", ".join(printable(key) for key in candidates if key != chosen)
    part = printable(chosen or "the outermost")
    remark = f"of its dictionaries of tensors {part} is read, not {unread}"
    return _unwrapped(candidates[chosen]), remark if unread else ""


def _dictionaries(
    tree: Any, key: str, depth: int
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields the dictionaries that hold tensors by dotted names, with their keys."""
    if not isinstance(tree, dict) or depth > _MAX_DEPTH:
        return
    tensors = {
        name: value
        for name, value in tree.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if any("." in name for name in tensors):
        yield key, tensors
    for name, value in tree.items():
        if isinstance(name, str) and "optim" not in name:
            yield from _dictionaries(value, f"{key}/{name}".strip("/"), depth + 1)


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = list(state)
    while prefix := next(
        (p for p in _WRAPPERS if all(name.startswith(p) for name in names)), None
    ):
        names = [name.removeprefix(prefix) for name in names]
    return dict(zip(names, state.values()))


def is_pytorch(names: Iterable[str]) -> bool:
    """Returns whether arrays have PyTorch's names: "layer1.0.conv1.weight", not "conv1/kernel".

    A factor called gamma, as in timm's ConvNeXt, stands beside weights.
    """
    last = {name.rpartition(".")[2] for name in names}
    return bool(last & {"weight", "running_mean"}) and "kernel" not in last


def is_sorted(arrays: Mapping[str, StoredArray]) -> bool:
    """Returns whether the names of each type are sorted, as safetensors 0.3 and later write them.

    The order of registration then is lost: it has "weight" before "bias".
    """
    names: dict[str, list[str]] = {}
    for name, stored in arrays.items():
        names.setdefault(str(stored.dtype), []).append(name)
    return all(group == sorted(group) for group in names.values())


def variables(
    arrays: Mapping[str, StoredArray],
) -> tuple[list[tuple[Variable, StoredArray]], list[Unaddressed], dict[str, str]]:
    """Groups the arrays of a state dict into layers, in Keras's order of axes.

    Args:
        arrays: by name, in the order of the file, with PyTorch's order of axes.

    Returns:
        variables with their arrays; arrays of no layer; and notes by variable path: why a role
        is unknown.
    """
    members: dict[str, dict[str, str]] = {}
    unaddressed: list[Unaddressed] = []
    for name, stored in arrays.items():
        layer, last = composites.split(name)
        if last == _COUNT or not layer:
            kind = "count" if last == _COUNT else "other"
            unaddressed.append((name, stored, kind))
        else:
            members.setdefault(layer, {})[last] = name
    pairs, notes = [], {}
    for layer, names in members.items():
        shapes = {last: arrays[name].shape for last, name in names.items()}
        whole = names.get("weight") and arrays[names["weight"]].dtype.kind in "iu"
        class_name, roles, why = _roles(shapes, {"zero_point"} if whole else set())
        main = next(iter(roles)) if class_name and None in roles.values() else ""
        for position, (last, role) in enumerate(roles.items()):
            stored = arrays[names[last]]
            kernel = role == "kernel" or (last == main and role is None)
            stored = transposed(stored, _keras_axes(kernel, len(stored.shape)))
            variable = Variable(
                path=f"{layer}/{position}",
                layer=layer,
                class_name=class_name,
                role=role,
                position=position,
                shape=stored.shape,
                dtype=str(stored.dtype.newbyteorder("=")),
                name="" if role else last,
            )
            if role is None:
                notes[variable.path] = (
                    why or f"the name {printable(last)} tells no role"
                )
            pairs.append((variable, stored))
    return pairs, unaddressed, notes


def _roles(
    shapes: Mapping[str, tuple[int, ...]], signs: set[str]
) -> tuple[str, dict[str, str | None], str]:
    """Returns class, role by the last part of the name in Keras's order, and why one is None.

    Of a weight that is computed from several arrays, the one with its shape comes first.

    Args:
        shapes: by the last part of the name.
        signs: other names by which `composites.of` shall recognize the layer.
    """
    unknown: dict[str, str | None] = dict.fromkeys(shapes)
    if composite := composites.of({*shapes} | signs):
        main = next((name for name in composite.main if name in shapes), None)
        if main is None:
            return "", unknown, composite.title
        first = {main: None}
        return _class(len(shapes[main])), first | unknown, composite.title
    without_role = {last: None for last in shapes if last not in _NORM}
    if "running_mean" in shapes:
        roles = {last: role for last, role in _NORM.items() if last in shapes}
        return "BatchNormalization", {**roles, **without_role}, ""
    rank = len(shapes.get("weight", ()))
    if rank >= 2:
        if shapes.get("bias") == shapes["weight"]:
            return "", unknown, "a LayerNorm over several axes, in PyTorch's order"
        roles = {"weight": "kernel"} | ({"bias": "bias"} if "bias" in shapes else {})
        return _class(rank), {**roles, **without_role}, ""
    if rank == 1 and shapes.get("bias") == shapes["weight"]:
        # a GroupNorm or a LayerNorm: the recipient's layer decides
        return "", {"weight": "gamma", "bias": "beta", **without_role}, ""
    return (
        "",
        unknown,
        "its names tell no role (PReLU, a normalization without bias ...)",
    )


def _class(rank: int) -> str:
    """Returns the class of a layer with a kernel of so many axes, as far as it follows."""
    return "Dense" if rank == 2 else f"Conv{rank - 2}D" if rank > 2 else ""


def _keras_axes(kernel: bool, rank: int) -> tuple[int, ...]:
    """Returns the order of PyTorch's axes in which Keras stores an array."""
    return (*range(2, rank), 1, 0) if kernel else tuple(range(rank))
