"""Either side of a transplant as an open model: a file, a live model, or values by path.

    with open_model("donor.keras") as donor, open_model(model) as recipient:
        donor.variables, donor.edges      # the input of a plan
        donor.read(donor.variables[0])    # the values of one variable

Planning, alignment, comparison, inspection and proofs are written once against `OpenModel`.
It has three implementations: `tfreuse.checkpoints.Checkpoint`, `live.LiveModel` (the only one
that imports TensorFlow) and `Values`.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from tfreuse import checkpoints
from tfreuse.checkpoints.arrays import growing, little_endian
from tfreuse.checkpoints.checkpoint import OtherArray
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable, soundness
from tfreuse.plan.calls import Graph
from tfreuse.plan.topology import Edges

# A keras.Model, the path of a model file, or a model that is open already.
Model = Any


class OpenModel(Protocol):
    """A model whose variables can be listed and read.

    Attributes:
        name: for messages: the path of a file, or the name of a live model.
        kind: format of the file, or "live".
        variables: descriptions of its arrays, from input to output.
        ordered: whether `variables` are in that order; else only layers of one class are.
        nameless: whether the file has numbers of layers in place of names.
        pytorch: whether it is a PyTorch file, with other names and without classes.
        edges: paths that each layer reads from, by its path; None if unknown.
        notes: reasons why the role of a variable is not known, by variable path.
        unaddressed: arrays that are no layer's weights, or of one path with others.
        groups: classes of layers, by path, in the spelling of weights files, where that is all.
        repeats: paths of one layer that stands in two models, each by the other.
    """

    name: str
    kind: str
    variables: tuple[Variable, ...]
    ordered: bool
    nameless: bool
    pytorch: bool
    edges: Edges | None
    notes: Mapping[str, str]
    unaddressed: tuple[OtherArray, ...]
    groups: Mapping[str, str]
    repeats: Mapping[str, str]

    def read(self, variable: Variable) -> np.ndarray:
        """Returns a variable's values; InputError if its shape or dtype has changed."""

    def numbers(self, variable: Variable) -> Iterator[np.ndarray]:
        """Yields a variable's values, flat, a few MB at a time."""

    def growing_pieces(self, variable: Variable) -> Iterator[memoryview]:
        """Yields a variable's bytes in little-endian order, the first piece small."""

    def digest(self, variable: Variable) -> str:
        """Returns the SHA-256, in hex, of a variable's bytes in little-endian order."""

    def calls(self) -> Graph:
        """Returns the calls of its layers; InputError if it is no graph of layers."""

    def verify(self) -> str:
        """Checks the model against its own checksums; returns the kind of check."""


@contextlib.contextmanager
def open_model(model: Model) -> Iterator[OpenModel]:
    """Opens a model; a file is closed again at the end of the block.

    Raises:
        InputError: the file cannot be read, or `model` is neither a path nor a model.
    """
    if isinstance(model, str | os.PathLike):
        with checkpoints.open(model) as checkpoint:
            yield checkpoint
    elif isinstance(model, Mapping):
        yield Values(model)
    elif hasattr(model, "growing_pieces"):
        yield model
    else:
        from tfreuse.transplant import live  # imports TensorFlow; files do without

        yield live.LiveModel(model)


class InMemory:
    """Reads values that are in memory; `view` returns the array of one variable."""

    provenance = None
    unaddressed = ()
    groups: Mapping[str, str] = MappingProxyType({})
    repeats: Mapping[str, str] = MappingProxyType({})
    ordered = True
    nameless = False
    pytorch = False

    def view(self, variable: Variable) -> np.ndarray:
        """Returns a variable's values without a copy where possible; only to be read."""
        raise NotImplementedError

    def numbers(self, variable: Variable) -> Iterator[np.ndarray]:
        yield from soundness.pieces_of(self.view(variable))

    def growing_pieces(self, variable: Variable) -> Iterator[memoryview]:
        yield from growing(memoryview(little_endian(self.view(variable))))

    def digest(self, variable: Variable) -> str:
        return digest(self.view(variable))

    def verify(self) -> str:
        return checkpoints.UNVERIFIED


class Values(InMemory):
    """Arrays or tensors by variable path, such as the values of a model at an earlier time.

    Args:
        values: by variable path.
        like: the model that the values belong to, if its descriptions are needed.
    """

    name, kind = "the mapping of values", "values"

    def __init__(self, values: Mapping[str, Any], like: OpenModel | None = None):
        self.values = values
        self.variables = like.variables if like else ()
        self.edges = like.edges if like else None
        self._like = like
        self.notes: Mapping[str, str] = {}

    def value(self, variable: Variable) -> Any:
        """Returns an array or a tensor; InputError if it is missing or of another shape."""
        value = self.values.get(variable.path)
        spec = None
        if value is not None:
            # a tensor's shape is slow to make and slow to iterate over
            shape = getattr(value, "_shape_tuple", lambda: value.shape)()
            dtype = value.dtype
            spec = tuple(shape), dtype if isinstance(dtype, str) else dtype.name
        check_spec(self.name, variable, spec)
        return value

    def view(self, variable: Variable) -> np.ndarray:
        value = self.value(variable)
        if not isinstance(value, np.ndarray):
            from tfreuse.transplant import (
                live,  # a tensor: TensorFlow is loaded already
            )

            return live.view(value)
        return value

    def read(self, variable: Variable) -> np.ndarray:
        return np.array(self.view(variable))

    def calls(self) -> Graph:
        if self._like is not None:
            return self._like.calls()
        raise InputError(
            "the adapter align needs the donor's graph; give the model, not its values."
        )


def check_spec(
    name: str, variable: Variable, spec: tuple[tuple[int, ...], str] | None
) -> None:
    """Raises InputError unless a value has the planned shape and dtype.

    Args:
        name: of the model that holds the value.
        variable: the planned description.
        spec: shape and dtype of the value; None if the model has no such variable.
    """
    if spec is None:
        raise InputError(
            f"{name} has no variable {printable(variable.path)!r}. Make the plan again."
        )
    if spec != (variable.shape, variable.dtype):
        shape, dtype = spec
        raise InputError(
            f"{name}: {variable} should be {variable.dtype} {variable.shape}, is {dtype} "
            f"{shape}. Make the plan again."
        )


def digest(array: np.ndarray) -> str:
    """Returns the SHA-256, in hex, of an array's bytes in little-endian order."""
    return hashlib.sha256(little_endian(array)).hexdigest()
