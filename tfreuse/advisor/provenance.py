"""Finds out which images a donor was trained on, and refuses one that has seen test images.

    donor = provenance.examine("runs/mae/model.keras", data_spec)
    donor.documented, donor.origin
    provenance.seen_labels(donor.path, data_spec, ids)  # images whose masks it was trained with

A donor that tools/train.py made lies beside `run.json`, which names the data it was trained on.
The files of those images are hashed (SHA-256 of their bytes) and compared with those of the test
images. Nothing is decoded, and no mask is opened. A picture that was stored anew, in another
format or size, is not recognised.
"""

import dataclasses
import math
import os
import pathlib
import shlex
from collections.abc import Sequence
from typing import Any

from tfreuse import files, rundir
from tfreuse.data import layout
from tfreuse.errors import InputError, printable
from tfreuse.specs import DataSpec

_LONGEST_CHAIN = 8  # donors that were each trained on from another


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The origin of a donor.

    Attributes:
        path: of the model file.
        sha256: of its bytes.
        documented: whether all images that it was trained on could be checked.
        origin: its training and the images of it, as the end of a sentence.
    """

    path: str
    sha256: str
    documented: bool
    origin: str


@dataclasses.dataclass(frozen=True)
class _Run:
    """One training in the chain that led to a donor."""

    origin: str
    documented: bool
    images: dict[str, str]  # SHA-256 -> name of the images that it was trained on
    initial_model: pathlib.Path | None  # that it was trained on from
    data: DataSpec | None = None
    with_labels: bool = False  # whether it was trained with masks
    of_all_splits: bool = False  # whether it was trained on the images of all splits


def examine(donor: str | os.PathLike, spec: DataSpec, weights: str = "") -> Provenance:
    """Reads the origin of a donor.

    Args:
        donor: the model file.
        spec: the data set.
        weights: the encoder weights that the donor was made with here, if it was.

    Raises:
        InputError: the file does not exist, or it was trained on test images of `spec`.
    """
    donor = pathlib.Path(donor)
    if not donor.is_file():
        raise InputError(
            f"--donor={donor} does not exist; expected a model file (.keras), as "
            "tools/train.py --out_dir=DIR writes DIR/model.keras."
        )
    runs = _runs(donor, spec)
    images = {digest: name for run in runs for digest, name in run.images.items()}
    tests = _image_files(spec, "test")
    common = sorted(tests[digest] for digest in images.keys() & tests.keys())
    if common:
        raise InputError(
            f"--donor={donor} was trained on {len(common)} of the {len(tests)} test images "
            f"(e.g. {printable(common[0])}): what it gains there is no gain on new images. "
            f"{_remedy(runs, spec, common[0])}"
        )
    if any(run.of_all_splits and run.data.dataset == spec.dataset for run in runs):
        raise InputError(
            f"--donor={donor} was trained with --unlabelled=all, on the test images of "
            f"{spec.dataset} too: what it gains there is no gain on new images. Train a donor "
            "without them."
        )
    documented = all(run.documented for run in runs)
    if weights:
        origin = (
            f"made with the encoder weights {printable(weights)}; which images these learned from "
            "is not known here."
        )
        return Provenance(str(donor), files.file_digest(donor), documented, origin)
    origin = "; trained on from a model that was ".join(run.origin for run in runs)
    if documented and images and tests:
        origin += f", none of them among the {len(tests)} test images"
    return Provenance(str(donor), files.file_digest(donor), documented, f"{origin}.")


def is_divided(spec: DataSpec) -> bool:
    """Returns whether the splits of `spec` are made by a hash, and depend on --group_by."""
    root = pathlib.Path(spec.data_dir).expanduser()
    return spec.dataset == "folder" and "test" in layout.without_folder(root)


def _remedy(runs: list[_Run], spec: DataSpec, image: pathlib.Path) -> str:
    """Returns the remedy where a donor was trained on `image`, a test image."""
    if not is_divided(spec):
        return f"Train a donor without them, or take them out of {printable(image.parent)}."
    patterns = [run.data.group_by for run in runs if run.data is not None]
    different = [pattern for pattern in patterns if pattern != spec.group_by]
    if not different:
        return f"Train a donor without them, or take them out of {printable(spec.data_dir)}."
    of_donor, of_images = map(shlex.quote, (different[0], spec.group_by))
    return (
        "This folder has no test/, and its split depends on --group_by: train the donor with "
        f"--group_by={of_images} too, or type --group_by={of_donor} here, as in its training."
    )


def seen_labels(donor: str | os.PathLike, spec: DataSpec, ids: Sequence[str]) -> int:
    """Counts the training images of `spec` whose masks the donor was trained or chosen with.

    Args:
        donor: the model file.
        spec: the data set of the images.
        ids: the images, as `data.Split` names those of the train split.
    """
    labelled: set[str] = set()
    names = hashes(spec, "train")
    for run in _runs(pathlib.Path(donor), spec):
        if not run.with_labels:
            continue
        common = names.keys() & run.images.keys()
        labelled |= {_stem(names[digest]) for digest in common}
        if run.data.dataset == spec.dataset != "folder":
            limit = run.data.train_examples or math.inf
            labelled |= {name for name in ids if int(name.rpartition("/")[2]) < limit}
    return len(labelled & set(ids))


def hashes(spec: DataSpec, *splits: str) -> dict[str, str]:
    """Returns the name of each image file of these splits by its SHA-256; {} for no folder."""
    return {
        files.file_digest(pair.image): f"{split}/images/{pair.stem}{pair.image.suffix}"
        for split in splits
        for pair in _pairs(spec, split)
    }


def _image_files(spec: DataSpec, split: str) -> dict[str, pathlib.Path]:
    """Returns each image file of the split, where it lies, by its SHA-256."""
    return {files.file_digest(pair.image): pair.image for pair in _pairs(spec, split)}


def _pairs(spec: DataSpec, split: str) -> list[layout.Pair]:
    """Lists the pairs of a split that a run reads; none where there is no folder."""
    if spec.dataset != "folder":
        return []
    root = pathlib.Path(spec.data_dir).expanduser()
    try:
        pairs, _ = layout.find(root, split, masks=False, group_by=spec.group_by)
    except InputError:
        return []  # the data set of an older run may be gone or changed
    limit = spec.train_examples if split == "train" else spec.test_examples
    return pairs[: limit or None]


def _stem(name: str) -> str:
    """Returns the image's id in `data.Split` for a name of `hashes`."""
    return (
        pathlib.PurePosixPath(name)
        .relative_to("train/images")
        .with_suffix("")
        .as_posix()
    )


def _runs(donor: pathlib.Path, spec: DataSpec) -> list[_Run]:
    """Returns the training of the donor, that of its initial model, and so on."""
    runs = []
    while len(runs) < _LONGEST_CHAIN:
        runs.append(_run(donor, spec))
        if runs[-1].initial_model is None:
            break
        donor = runs[-1].initial_model
    return runs


def _run(donor: pathlib.Path, spec: DataSpec) -> _Run:
    path = donor.parent / "run.json"
    if not path.exists():
        origin = f"of unknown origin: no run.json beside it names its images ({path})"
        return _Run(origin, False, {}, None)
    try:
        content = files.read_json(path)
        specs, directory = content["specs"], content.get("directory", "")
        data, train = DataSpec.from_json(specs["data"]), specs["train"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        origin = f"of unknown origin: {path} does not say on which images"
        return _Run(origin, False, {}, None)
    data = dataclasses.replace(data, data_dir=rundir.resolved(data.data_dir, directory))
    before = _initial_model(donor, train, directory)
    task = train.get("task", "?")
    training = {"data": data, "with_labels": task == "segmentation"}
    of_all_splits = train.get("unlabelled") == "all"
    if train.get("corruption", "none") != "none":
        task += f" ({train['corruption']})"
    if data.dataset != "folder":
        # the splits of one data set are disjoint; two data sets may share images
        part = "all splits" if of_all_splits else "the train split"
        origin = f"trained as {task} on {part} of {data.dataset}"
        training["of_all_splits"] = of_all_splits
        return _Run(origin, spec.dataset == data.dataset, {}, before, **training)
    images = hashes(data, "train", "val", *(["test"] if of_all_splits else []))
    if not any(name.startswith("train/") for name in images.values()):
        origin = f"trained as {task} on images that cannot be checked: {data.data_dir}"
        return _Run(f"{origin} is not here any more", False, {}, before)
    origin = f"trained as {task} on {len(images)} images of {data.data_dir}"
    return _Run(origin, True, images, before, **training)


def _initial_model(
    donor: pathlib.Path, train: dict[str, Any], directory: str
) -> pathlib.Path | None:
    """Returns the file of --initial_model: relative to the donor's directory, or the run's."""
    name = train.get("initial_model")
    if not name:
        return None
    paths = donor.parent / name, pathlib.Path(rundir.resolved(name, directory))
    return next((path for path in paths if path.is_file()), paths[0])
