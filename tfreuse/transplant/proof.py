"""Proofs that a file, or a live model, is another with exactly a plan's variables replaced."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from tfreuse.checkpoints import Checkpoint, hdf5, keras_file, safetensors
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.hdf5 import Group
from tfreuse.checkpoints.source import Source
from tfreuse.checkpoints.writable import SUFFIXES
from tfreuse.errors import InputError, printable
from tfreuse.plan import Entry, Plan
from tfreuse.plan.channels import Channels
from tfreuse.transplant import pairing
from tfreuse.transplant.moves import Moves
from tfreuse.transplant.opening import OpenModel, Values

_OWN = "tfreuse"  # key of the metadata under which an output keeps its provenance
_ATTRIBUTES = ("name", "layer_names", "weight_names", "backend", "keras_version")
_ROOT_ATTRIBUTES = ("model_config", "training_config")


@dataclasses.dataclass(frozen=True)
class Proof:
    """Counts of the arrays that were compared, and the first differences.

    Attributes:
        moved: arrays that must be the donor's, adapters applied.
        kept: arrays that must be the recipient's.
        checked: check of the output's bytes against its own checksums.
        plan: hash of the plan that the output names; None if it names none. Other patterns
            may select the same variables, so another plan's hash is no difference.
        differences: one line each; empty if the output is proven.
        channels: output channels that moved, by layer of the recipient; {}: layers moved whole.
    """

    moved: int
    kept: int
    checked: str
    plan: str | None
    differences: tuple[str, ...]
    channels: Channels = dataclasses.field(default_factory=dict)

    def check(self) -> "Proof":
        """Returns the proof itself; InputError with the first differences if it has any."""
        if self.differences:
            count = len(self.differences)
            first = "; ".join(line.rstrip(".") for line in self.differences[:3])
            raise InputError(
                f"{count} difference{'s' * (count != 1)} from the plan: {first}. Apply the "
                "plan again."
            )
        return self

    def to_json(self) -> dict[str, Any]:
        return {"verified": not self.differences, **dataclasses.asdict(self)}


def verify(plan: Plan, donor: OpenModel, recipient: OpenModel, out: OpenModel) -> Proof:
    """Checks that the plan is of these models, and compares the output with it.

    Two files are compared whole. If one side is a live model or values by path, every array
    of the model is compared; a live model has nothing else that a plan could change.

    Raises:
        InputError: the plan is not of these models, or recipient and out are one live model.
    """
    plan.check()
    model = getattr(out, "model", None)
    if model is not None and getattr(recipient, "model", None) is model:
        raise InputError(
            f"recipient and out are both {out.name} as it is now, which proves nothing; keep "
            "transplant.values(model) before apply, and give these values as the recipient."
        )
    if isinstance(recipient, Values):
        _check_complete(recipient, out)
        recipient = Values(recipient.values, like=out)
    if not isinstance(donor, Values):
        pairing.check_same(plan, donor, recipient)
    proof = prove(plan, donor, recipient, out)
    return dataclasses.replace(proof, channels=dict(plan.channels))


def prove(plan: Plan, donor: OpenModel, recipient: OpenModel, out: OpenModel) -> Proof:
    """Compares an output with the plan applied to its two models."""
    if isinstance(recipient, Checkpoint) and isinstance(out, Checkpoint):
        return _prove_file(plan, donor, recipient, out)
    return _prove_arrays(plan, donor, recipient, out)


def _check_complete(before: Values, out: OpenModel) -> None:
    """Raises InputError if values are missing by which others would be proven untouched."""
    missing = [str(v) for v in out.variables if v.path not in before.values]
    if missing:
        raise InputError(
            f"the values before the transplant lack {len(missing)} variables of {out.name}, "
            f"the first is {missing[0]}. Keep transplant.values(model) before apply; what "
            "apply returns has the displaced values only."
        )


def _prove_arrays(
    plan: Plan, donor: OpenModel, recipient: OpenModel, out: OpenModel
) -> Proof:
    moves = Moves(plan, donor, recipient)
    entries: dict[str, Entry] = {e.recipient.path: e for e in plan.copies}
    before = {variable.path: variable for variable in recipient.variables}
    after = {variable.path: variable for variable in out.variables}
    differences = []
    for path in before.keys() - after.keys():
        differences.append(f"{before[path]} is missing")
    for path in after.keys() - before.keys():
        differences.append(f"{after[path]} was added")
    for path in sorted(before.keys() & after.keys()):
        variable, new = before[path], after[path]
        if (variable.shape, variable.dtype) != (new.shape, new.dtype):
            differences.append(f"{variable} has another shape or dtype")
        elif path in entries:
            if moves.digest(entries[path]) != out.digest(new):
                differences.append(f"{variable} is not the donor's")
        elif recipient.digest(variable) != out.digest(new):
            differences.append(f"{variable} is not the recipient's")
    checked = _checked(out, differences)
    unchanged = len(before) - len(entries)
    return Proof(len(entries), unchanged, checked, _stated(out), tuple(differences))


def _prove_file(
    plan: Plan, donor: OpenModel, recipient: Checkpoint, out: Checkpoint
) -> Proof:
    _check_kinds(recipient, out)
    names = {recipient.extent(v): str(v) for v in recipient.variables}
    moves = Moves(plan, donor, recipient)
    # by extent: the only name that arrays of the file and the plan's variables share
    digests = {
        _extent(recipient, entry.recipient.path): moves.digest_in_file(entry)
        for entry in plan.copies
    }
    old, new = _arrays(recipient), _arrays(out)
    differences = list(_inventory(old, new))
    for path in old.keys() & new.keys():
        extent = old[path].extent
        name = names.get(extent, printable(path)) if extent else printable(path)
        if extent in digests:
            if digests[extent] != _digest(new[path]):
                differences.append(f"{name} is not the donor's")
        elif (old[path].chunks is None) != (new[path].chunks is None):
            differences.append(f"{name} is stored in another way than the recipient's")
        elif _digest(old[path]) != _digest(new[path]):
            differences.append(f"{name} is not the recipient's")
    differences = sorted(differences)
    differences += _surroundings(recipient, out)
    checked = _checked(out, differences)
    unchanged = len(old) - len(digests)
    return Proof(len(digests), unchanged, checked, _stated(out), tuple(differences))


def _check_kinds(recipient: Checkpoint, out: Checkpoint) -> None:
    for checkpoint in (recipient, out):
        if checkpoint.kind not in SUFFIXES:
            raise InputError(
                f"{printable(checkpoint.path)} is no file that a transplant writes; expected "
                f"one of {', '.join(SUFFIXES.values())}."
            )
    if recipient.kind != out.kind:
        raise InputError(
            f"{printable(out.path)} is of another format than its recipient "
            f"{printable(recipient.path)}."
        )


def _extent(recipient: Checkpoint, path: str) -> tuple[int, int]:
    """Returns the first byte and the size of a variable of the recipient."""
    extent = recipient.extent(path)
    if extent is None:
        raise InputError(
            f"{printable(path)} of {printable(recipient.path)} is stored in chunks or "
            "compressed; no transplant writes such an array."
        )
    return extent


def _digest(stored: StoredArray) -> str:
    """Returns the digest of the numbers, or of the encoded bytes of an array in chunks."""
    whole = stored.extent is not None or stored.nbytes == 0
    return stored.digest() if whole else stored.digest_of_chunks()


def _stated(out: OpenModel) -> str | None:
    """Returns the hash of the plan that the output names; its provenance may be anything."""
    provenance = getattr(out, "provenance", None)
    plan_hash = provenance.get("plan") if isinstance(provenance, dict) else None
    return plan_hash if isinstance(plan_hash, str) else None


def _checked(out: OpenModel, differences: list[str]) -> str:
    try:
        return out.verify()
    except InputError as error:
        differences.append(str(error))
        return "damaged"


def _root(checkpoint: Checkpoint) -> Group:
    """Returns the structure of the HDF5 file, or of that within a `.keras` file."""
    members = {member.name: member.data for member in checkpoint.members}
    data = members.get(keras_file.WEIGHTS, checkpoint.source)
    return hdf5.read(data, _ATTRIBUTES, _ROOT_ATTRIBUTES)


def _arrays(checkpoint: Checkpoint) -> dict[str, StoredArray]:
    """Returns all arrays of the file, those of optimizers and seeds too, by the file's names."""
    if checkpoint.kind == "safetensors":
        return safetensors.read_weights(checkpoint.source).arrays
    return {
        f"{group.path}/{name}": stored
        for group in _root(checkpoint).walk()
        for name, stored in group.arrays.items()
    }


def _inventory(
    old: dict[str, StoredArray], new: dict[str, StoredArray]
) -> Iterator[str]:
    for path in old.keys() - new.keys():
        yield f"{printable(path)} is missing"
    for path in new.keys() - old.keys():
        yield f"{printable(path)} was added"
    for path in old.keys() & new.keys():
        if (old[path].shape, old[path].dtype) != (new[path].shape, new[path].dtype):
            yield f"{printable(path)} has another shape or dtype"


def _surroundings(recipient: Checkpoint, out: Checkpoint) -> Iterator[str]:
    """Yields differences beside the arrays: in configuration, metadata, attributes."""
    if recipient.kind == "safetensors":
        if len({safetensors.header(file.source) for file in (recipient, out)}) > 1:
            yield "names, order or metadata of its header are not the recipient's"
        return
    old = {member.name: member for member in recipient.members}
    new = {member.name: member for member in out.members}
    if old.keys() != new.keys():
        yield "it has other members than the recipient"
    for name in sorted(old.keys() & new.keys()):
        if name == keras_file.METADATA:
            same = _metadata(old[name]) == _metadata(new[name])
        elif name != keras_file.WEIGHTS:
            same = _bytes(old[name].data) == _bytes(new[name].data)
        else:
            continue
        if not same:
            yield f"{printable(name)} is not the recipient's"
    if _attributes(_root(recipient)) != _attributes(_root(out)):
        yield "groups or attributes beside the arrays are not the recipient's"


def _metadata(member) -> Any:
    metadata = json.loads(member.data.read(0, member.data.size))
    return {key: metadata[key] for key in metadata if key != _OWN}


def _bytes(source: Source) -> bytes:
    return b"".join(map(bytes, source.pieces()))


def _attributes(root: Group) -> dict[str, dict[str, Any]]:
    """Returns texts beside the arrays by the path of their group, provenance left out."""
    return {group.path: group.attributes for group in root.walk()}
