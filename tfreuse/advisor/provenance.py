"""Where a donor comes from, and whether it has seen the images that it will be judged by.

    found = provenance.examine("runs/mae/model.keras", data_spec)   # InputError if it has
    found.known, found.told

A donor that tools/train.py made lies beside `run.json`, which says what data it was trained
on; the files of those images are hashed (SHA-256 of their bytes) and held against those of the
test images. Nothing is decoded, and no mask is opened. A picture that was stored anew, in
another format or size, is not recognised.
"""

import dataclasses
import os
import pathlib

from tfreuse import files
from tfreuse.errors import InputError, printable
from tfreuse.specs import DataSpec

_LONGEST_CHAIN = 8  # donors that a donor was trained on from


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What is known of a donor.

    Attributes:
        path: of the model file.
        sha256: of its bytes.
        known: whether it is known which images it was trained on.
        told: a sentence about it, for a person.
    """

    path: str
    sha256: str
    known: bool
    told: str


def examine(donor: str | os.PathLike, spec: DataSpec) -> Provenance:
    """What is known of the donor.

    Raises:
        InputError: there is no such file, or it was trained on test images of `spec`.
    """
    donor = pathlib.Path(donor)
    if not donor.is_file():
        raise InputError(
            f"--donor={donor} does not exist; expected a model file (.keras), as "
            "tools/train.py --out_dir=DIR writes DIR/model.keras."
        )
    seen, told, known = _seen(donor, spec)
    tests = hashes(spec, "test")
    both = sorted(tests[one] for one in seen.keys() & tests.keys())
    if both:
        raise InputError(
            f"--donor={donor} was trained on {len(both)} of the {len(tests)} test images "
            f"(e.g. {printable(both[0])}): what it gains there is no gain on new images. "
            "Train a donor without them, or take them out of test/."
        )
    if known and seen and tests:
        told += f", none of them among the {len(tests)} test images"
    return Provenance(str(donor), files.file_digest(donor), known, f"{told}.")


def hashes(spec: DataSpec, *splits: str) -> dict[str, str]:
    """SHA-256 of each image file of these splits, with its name; {} for no folder."""
    if spec.dataset != "folder":
        return {}
    root = pathlib.Path(spec.data_dir).expanduser()
    found = {}
    for split in splits:
        paths = sorted(path for path in (root / split / "images").glob("[!.]*"))
        limit = spec.train_examples if split == "train" else spec.test_examples
        for path in paths[: limit or None]:
            found[files.file_digest(path)] = f"{split}/images/{path.name}"
    return found


def _seen(donor: pathlib.Path, spec: DataSpec) -> tuple[dict[str, str], str, bool]:
    """Hashes of the images that the donor was trained on, a sentence, and if that is all."""
    seen: dict[str, str] = {}
    words, known = [], True
    for _ in range(_LONGEST_CHAIN):
        one, told, is_known, before = _run(donor, spec)
        seen |= one
        words.append(told)
        known = known and is_known
        if before is None:
            break
        donor = before
    return seen, "; trained on from a model that was ".join(words), known


def _run(donor: pathlib.Path, spec: DataSpec):
    """(hashes, what is told, whether it is known, the model it was trained on from)."""
    path = donor.parent / "run.json"
    try:
        told = files.read_json(path)["specs"]
        theirs, train = DataSpec.from_json(told["data"]), told["train"]
    except (OSError, ValueError, KeyError, TypeError):
        return (
            {},
            f"of unknown origin: {path} does not say on which images",
            False,
            None,
        )
    before = None
    if name := train.get("initial_model"):
        places = (donor.parent / name, pathlib.Path(name))
        before = next((place for place in places if place.is_file()), places[0])
    kind = train.get("task", "?")
    if train.get("corruption", "none") != "none":
        kind += f" ({train['corruption']})"
    if theirs.dataset != "folder":
        return (
            {},
            f"trained as {kind} on the train split of {theirs.dataset}",
            (spec.dataset == theirs.dataset),
            before,
        )
    found = hashes(theirs, "train", "val")
    if not any(name.startswith("train/") for name in found.values()):
        where = f"{theirs.data_dir} is not here any more"
        return (
            {},
            f"trained as {kind} on images that cannot be checked: {where}",
            False,
            before,
        )
    return (
        found,
        f"trained as {kind} on {len(found)} images of {theirs.data_dir}",
        True,
        before,
    )
