"""An open model file: which arrays it holds, and their values on demand."""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from tfreuse.checkpoints.archive import Member
from tfreuse.checkpoints.arrays import StoredArray, check_disjoint
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, nearest, printable
from tfreuse.plan import Variable

CRC32, SHA256, UNVERIFIED = "crc32", "sha256", "unverified"


@dataclasses.dataclass(frozen=True)
class OtherArray:
    """An array that belongs to no layer's weights.

    `kind` is "optimizer", "seed", "duplicate" (of several arrays with one path) or "other" (of the model itself, or stored in a way of its layer's own).
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    kind: str


class Checkpoint:
    """What `tfreuse.checkpoints.open` returns; a context manager.

    Attributes:
        path: the file.
        kind: "keras", "weights_h5", "sharded", "legacy_h5", "tf", "npz" or "safetensors".
        variables: arrays of the layers' weights, in the order of the model where the file
            tells it.
        edges: layer path -> paths of the layers it reads from; None if the file does not
            tell. Operations between layers are in it, nested models are looked through.
        notes: variable path -> why its role is not known.
        unaddressed: all other arrays of the file.
        provenance: what `write` stored in the file, None if it did not write it.
        source: the file, open.
        members: members of a zip file, each with a checksum.
    """

    def __init__(
        self,
        kind: str,
        source: Source,
        found: Iterable[tuple[Variable, StoredArray]],
        *,
        others: Iterable[tuple[str, StoredArray, str]] = (),
        edges: Mapping[str, tuple[str, ...]] | None = None,
        notes: Mapping[str, str] | None = None,
        members: Iterable[Member] = (),
        more_sources: Iterable[Source] = (),
        provenance: Any = None,
    ):
        self.kind = kind
        self.path = source.path
        self.source = source
        self.edges = None if edges is None else dict(edges)
        self.notes = dict(notes or {})
        self.provenance = provenance
        self._sources = [source, *more_sources]
        self.members = tuple(members)
        self._stored: dict[str, StoredArray] = {}
        self._variables: dict[str, Variable] = {}
        found, others = list(found), list(others)
        count = Counter(variable.path for variable, _ in found)
        for variable, stored in found:
            if count[variable.path] > 1:  # which of them is meant cannot be told
                others.append((variable.path, stored, "duplicate"))
                continue
            self._stored[variable.path] = stored
            self._variables[variable.path] = variable
        check_disjoint(
            [*self._stored.values(), *(stored for _, stored, _ in others)],
        )
        self.variables = tuple(self._variables.values())
        self.unaddressed = tuple(
            OtherArray(path, stored.shape, str(stored.dtype.newbyteorder("=")), kind)
            for path, stored, kind in others
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files; what was read stays valid."""
        while self._sources:
            os.close(self._sources.pop().descriptor)

    def read(self, variable: Variable | str) -> np.ndarray:
        """The variable's values, in the machine's own byte order; bfloat16 as ml_dtypes'.

        Raises:
            InputError: the file has no such variable, it is of another shape or type than
                `variable` says, or its bytes do not lie in one piece.
        """
        return self.stored(variable).read()

    def pieces(self, variable: Variable | str) -> Iterator[memoryview]:
        """The variable's bytes as they stand in the file, a few MB at a time."""
        return self.stored(variable).pieces()

    def extent(self, variable: Variable | str) -> tuple[int, int] | None:
        """(first byte in the file, bytes); None if they do not lie in one piece."""
        return self.stored(variable).extent

    def digest(self, variable: Variable | str) -> str:
        """SHA-256, in hex, of the variable's bytes in little-endian order."""
        return self.stored(variable).digest()

    def variable(self, path: str) -> Variable:
        """The variable at `path`; InputError names the nearest if there is none."""
        self.stored(path)
        return self._variables[path]

    def stored(self, variable: Variable | str) -> StoredArray:
        """Where the variable's bytes are; compares what is declared before anything is read.

        Raises:
            InputError: the file has no such variable, or it differs from what is asked for.
        """
        path = variable if isinstance(variable, str) else variable.path
        stored = self._stored.get(path)
        if stored is None:
            raise InputError(
                f"{self.path} has no variable {printable(path)!r}; "
                f"nearest: {nearest(path, self._stored)}."
            )
        own = self._variables[path]
        if isinstance(variable, Variable) and (variable.shape, variable.dtype) != (
            own.shape,
            own.dtype,
        ):
            raise InputError(
                f"{self.path}: {own} should be {variable.dtype} {variable.shape}, is "
                f"{own.dtype} {own.shape}. Make the plan again."
            )
        return stored

    def verify(self, digest: str | None = None) -> str:
        """Reads the whole file once and checks it; says how it was checked.

        Args:
            digest: SHA-256, in hex, of the whole file, if it is known; of a sharded one,
                of the JSON file and the shards in the order of their names.

        Returns:
            "sha256" if the digest was given, "crc32" if the format has a checksum of its
            own (.keras, .npz), else "unverified": then nothing was read.

        Raises:
            InputError: the bytes are not those that were written.
        """
        if digest is not None:
            self._check_digest(digest)
            return SHA256
        for member in self.members:
            member.check()
        return CRC32 if self.members else UNVERIFIED

    def _check_digest(self, digest: str) -> None:
        sha = hashlib.sha256()
        for source in self._sources:
            for piece in source.pieces():
                sha.update(piece)
        if sha.hexdigest() != digest.lower():
            raise InputError(
                f"{self.path} has SHA-256 {sha.hexdigest()}, expected {printable(digest)}. "
                "It is damaged or another file; copy it again."
            )
