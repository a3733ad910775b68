"""Whether a file is another with exactly a plan's variables replaced, and nothing else."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from tfreuse.checkpoints import Checkpoint, hdf5, keras_file
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.hdf5 import Group
from tfreuse.checkpoints.source import Source
from tfreuse.checkpoints.writing import SUFFIXES
from tfreuse.errors import InputError, printable
from tfreuse.moving.values import Moved, digest
from tfreuse.plan import Plan

_OWN = "tfreuse"  # where an output keeps its provenance
_ATTRIBUTES = ("name", "layer_names", "weight_names", "backend", "keras_version")
_ROOT_ATTRIBUTES = ("model_config", "training_config")


@dataclasses.dataclass(frozen=True)
class Proof:
    """What was compared: arrays that moved, arrays that stayed, and the first differences.

    `checked` says how the output's bytes were checked against themselves; `plan` is the hash
    of the plan that the output names, None if it names none; the same variables may be chosen
    by other patterns, so another plan's is no difference.
    """

    moved: int
    kept: int
    checked: str
    plan: str | None
    differences: tuple[str, ...]

    def check(self) -> "Proof":
        """The proof itself; InputError with the first differences if there are any."""
        if self.differences:
            raise InputError(
                f"{len(self.differences)} differences from the plan: "
                f"{'; '.join(self.differences[:3])}. Apply the plan again."
            )
        return self

    def to_json(self) -> dict[str, Any]:
        return {"verified": not self.differences, **dataclasses.asdict(self)}


def prove(
    plan: Plan, donor: Checkpoint, recipient: Checkpoint, out: Checkpoint
) -> Proof:
    """Compares an output with what the plan makes of its two files."""
    _check_kinds(recipient, out)
    names = {recipient.extent(v): str(v) for v in recipient.variables}
    wanted = {
        _extent(recipient, path): value
        for path, value in Moved(plan, donor, recipient).values().items()
    }
    ours, made = _arrays(_root(recipient)), _arrays(_root(out))
    differences = list(_inventory(ours, made))
    for path in ours.keys() & made.keys():
        own = ours[path]
        name = names.get(own.extent, printable(path)) if own.extent else printable(path)
        if own.extent in wanted:
            if digest(wanted[own.extent]) != _digest(made[path]):
                differences.append(f"{name} is not the donor's")
        elif (own.chunks is None) != (made[path].chunks is None):
            differences.append(f"{name} is stored in another way than the recipient's")
        elif _digest(own) != _digest(made[path]):
            differences.append(f"{name} is not the recipient's")
    differences = sorted(differences)
    differences += _surroundings(recipient, out)
    checked = _checked(out, differences)
    kept = len(ours) - len(wanted)
    return Proof(len(wanted), kept, checked, _stated(out), tuple(differences))


def _check_kinds(recipient: Checkpoint, out: Checkpoint) -> None:
    for given in (recipient, out):
        if given.kind not in SUFFIXES:
            raise InputError(
                f"{printable(given.path)} is no file that a transplant writes; expected "
                ".keras, .weights.h5 or legacy .h5."
            )
    if recipient.kind != out.kind:
        raise InputError(
            f"{printable(out.path)} is of another format than its recipient "
            f"{printable(recipient.path)}."
        )


def _extent(recipient: Checkpoint, path: str) -> tuple[int, int]:
    """Where a variable that moves stands in the recipient."""
    extent = recipient.extent(path)
    if extent is None:
        raise InputError(
            f"{printable(path)} of {printable(recipient.path)} is stored in chunks or "
            "compressed; no transplant writes such an array."
        )
    return extent


def _digest(stored: StoredArray) -> str:
    """Of the numbers; of the bytes that stand for them where they are in chunks."""
    whole = stored.extent is not None or stored.nbytes == 0
    return stored.digest() if whole else stored.digest_of_chunks()


def _stated(out: Checkpoint) -> str | None:
    """The hash of the plan that the output names; what it holds may be anything."""
    found = out.provenance.get("plan") if isinstance(out.provenance, dict) else None
    return found if isinstance(found, str) else None


def _checked(out: Checkpoint, differences: list[str]) -> str:
    try:
        return out.verify()
    except InputError as error:
        differences.append(str(error))
        return "damaged"


def _root(checkpoint: Checkpoint) -> Group:
    """The structure of the HDF5 file, or of the part of a `.keras` file that is one."""
    members = {member.name: member.data for member in checkpoint.members}
    data = members.get(keras_file.WEIGHTS, checkpoint.source)
    return hdf5.read(data, _ATTRIBUTES, _ROOT_ATTRIBUTES)


def _arrays(root: Group) -> dict[str, StoredArray]:
    """All arrays of the file, those of optimizers and seeds too, by their place in it."""
    return {
        f"{group.path}/{name}": stored
        for group in root.walk()
        for name, stored in group.arrays.items()
    }


def _inventory(
    ours: dict[str, StoredArray], made: dict[str, StoredArray]
) -> Iterator[str]:
    for path in ours.keys() - made.keys():
        yield f"{printable(path)} is missing"
    for path in made.keys() - ours.keys():
        yield f"{printable(path)} was added"
    for path in ours.keys() & made.keys():
        if (ours[path].shape, ours[path].dtype) != (made[path].shape, made[path].dtype):
            yield f"{printable(path)} has another shape or dtype"


def _surroundings(recipient: Checkpoint, out: Checkpoint) -> Iterator[str]:
    """Differences in what is no array: configuration, metadata, attributes."""
    ours = {member.name: member for member in recipient.members}
    made = {member.name: member for member in out.members}
    if ours.keys() != made.keys():
        yield "it has other members than the recipient"
    for name in sorted(ours.keys() & made.keys()):
        if name == keras_file.METADATA:
            same = _metadata(ours[name]) == _metadata(made[name])
        elif name != keras_file.WEIGHTS:
            same = _bytes(ours[name].data) == _bytes(made[name].data)
        else:
            continue
        if not same:
            yield f"{printable(name)} is not the recipient's"
    if _attributes(_root(recipient)) != _attributes(_root(out)):
        yield "groups or attributes beside the arrays are not the recipient's"


def _metadata(member) -> Any:
    found = json.loads(member.data.read(0, member.data.size))
    return {key: found[key] for key in found if key != _OWN}


def _bytes(source: Source) -> bytes:
    return b"".join(map(bytes, source.pieces()))


def _attributes(root: Group) -> dict[str, dict[str, Any]]:
    """Texts beside the arrays, by the path of their group; provenance is not among them."""
    return {group.path: group.attributes for group in root.walk()}
