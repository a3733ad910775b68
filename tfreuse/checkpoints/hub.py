"""Finds models of the Hugging Face Hub in its cache on this disk; never uses the network.

    place = locate("hf://timm/resnet18.a1_in1k")   # or hf://ORG/NAME@REVISION/FILE
    place.path                                     # a folder, or the file

The cache has a documented layout (huggingface_hub: "Manage your cache"), which is read without
that package: `models--ORG--NAME/refs/REVISION` holds a commit, and `snapshots/COMMIT` that
commit's files, as links to `blobs`.
"""

import dataclasses
import os
import pathlib
import re

from tfreuse.checkpoints.source import MissingFileError
from tfreuse.errors import InputError, nearest, printable

SCHEME = "hf://"
_NAME = r"[A-Za-z0-9_][\w.-]*"
_ADDRESS = re.compile(
    rf"hf://(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>\w[\w.-]*))?(?:/(?P<file>.*))?",
    re.ASCII,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclasses.dataclass(frozen=True)
class Address:
    """A model of the Hub.

    Attributes:
        repo: ORG/NAME.
        revision: branch, tag or commit.
        file: path of a file in it; "" for the folder.
    """

    repo: str
    revision: str
    file: str

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"{SCHEME}{self.repo}{revision}" + (self.file and f"/{self.file}")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a model is on this disk: the folder of its commit, and the path asked for."""

    address: Address
    snapshot: pathlib.Path
    path: pathlib.Path

    def origin(self, path: pathlib.Path) -> str:
        """Returns the address of a file of the snapshot, with the commit as its revision."""
        inside = os.path.relpath(path, self.snapshot)
        return f"{SCHEME}{self.address.repo}@{self.snapshot.name}/{inside}"


def is_address(path: object) -> bool:
    """Returns whether this is the address of a model of the Hub, and no path."""
    return isinstance(path, str) and path.startswith(SCHEME)


def parse(text: str) -> Address:
    """Reads an address. Raises InputError if it is none."""
    match = _ADDRESS.fullmatch(text)
    file = (match["file"] or "").rstrip("/") if match else ""
    parts = file.split("/") if file else []
    if match is None or "\\" in file or not {"", ".", ".."}.isdisjoint(parts):
        raise InputError(
            f"{printable(text)} is no address of the Hub; expected hf://ORG/NAME, "
            "hf://ORG/NAME/FILE or hf://ORG/NAME@REVISION/FILE."
        )
    return Address(match["repo"], match["revision"] or "main", file)


def cache() -> pathlib.Path:
    """Returns the folder of the cache, by the environment variables of huggingface_hub."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return _expanded(os.environ[name])
    if os.environ.get("HF_HOME"):
        return _expanded(os.environ["HF_HOME"]) / "hub"
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(home) / "huggingface" / "hub"


def _expanded(folder: str) -> pathlib.Path:
    return pathlib.Path(os.path.expandvars(folder)).expanduser()


def locate(text: str) -> Place:
    """Finds a model in the cache.

    Raises:
        InputError: the text is no address.
        MissingFileError: the cache has no such model, revision or file.
    """
    address = parse(text)
    folder = cache() / f"models--{address.repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / _commit(folder, address.revision)
    path = snapshot / address.file
    if path.exists():
        return Place(address, snapshot, path)
    if not snapshot.is_dir():
        whole = not folder.is_dir()
        content = "no folder of it" if whole else "other revisions of it"
    else:
        names = [str(p.relative_to(snapshot)) for p in snapshot.rglob("*")]
        names = [name for name in names if (snapshot / name).is_file()]
        near = ", ".join(nearest(address.file, names, 3))
        content = f"other files of it ({near})" if near else "no file of it"
    raise MissingFileError(
        f"{printable(address)} is not on this disk: the cache {printable(cache())} has "
        f"{content}. --download gets it from the Hub."
    )


def _commit(folder: pathlib.Path, revision: str) -> str:
    """Returns the commit of a revision; the revision itself if it is no branch or tag."""
    try:
        with open(folder / "refs" / revision, "rb") as file:
            commit = file.read(64).decode("ascii", "replace").strip()
    except OSError:
        return revision
    return commit if _COMMIT.fullmatch(commit) else revision


def target(path: pathlib.Path) -> pathlib.Path:
    """Returns the blob that a link of the cache leads to; any other path as it is."""
    for folder in path.parents:
        if folder.name == "snapshots":
            blob = pathlib.Path(os.path.realpath(path))
            if blob.parent == folder.parent.resolve() / "blobs":
                return blob
    return path
