"""Reads TensorFlow checkpoints, and the variables of a SavedModel, by their variables' names.

The only format that needs TensorFlow, which is imported when such a file is opened. Names are
those that layers gave their variables ("conv1/kernel"). Keras writes the names of nested models
neither there nor into the object graph, so layers of one name in several of them are ambiguous.
"""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from tfreuse.checkpoints import named
from tfreuse.checkpoints.arrays import WholeArray
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable
from tfreuse.roles import NAMED

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # key of the object graph in a TF2 checkpoint
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # suffix of a variable's key


def prefix(path: str | os.PathLike) -> str | None:
    """Returns TensorFlow's prefix of the checkpoint at `path`; None if there is none.

    Args:
        path: a SavedModel's folder, a checkpoint's prefix ("ckpt-1") or its ".index" file.
    """
    path = pathlib.Path(path)
    if path.is_dir() and (path / "saved_model.pb").is_file():
        path = path / "variables" / "variables"
    if path.suffix == ".index" and path.is_file():
        return str(path.with_suffix(""))
    index = path.with_name(f"{path.name}.index")
    return str(path) if path.name and index.is_file() else None


@dataclasses.dataclass(frozen=True)
class _Tensor(WholeArray):
    """An array that only TensorFlow can read."""

    reader: Any = None
    key: str = ""

    def read(self) -> np.ndarray:
        value = np.asarray(self.reader.get_tensor(self.key))
        if value.shape != self.shape or value.dtype != self.dtype:
            raise InputError(f"{self.key} is not what {self.source.path} declares.")
        return value


def read(path: str) -> Checkpoint:
    """Reads the checkpoint with this prefix.

    Raises:
        InputError: TensorFlow cannot read it.
    """
    import tensorflow as tf  # here, since it takes seconds

    # an empty file, since nothing of a checkpoint is read by offset
    source = Source(pathlib.Path(path), os.open(os.devnull, os.O_RDONLY), 0, 0)
    try:
        reader = tf.train.load_checkpoint(path)
        shapes = reader.get_variable_to_shape_map()
        types = reader.get_variable_to_dtype_map()
        names = _names(reader) if _GRAPH in shapes else {key: key for key in shapes}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        os.close(source.descriptor)
        raise InputError(
            f"{path} cannot be read as a TensorFlow checkpoint: {printable(error)}."
        ) from error
    named_arrays, unaddressed = [], []
    for key, name in names.items():
        dtype = np.dtype(types[key].as_numpy_dtype)
        if dtype.kind in "OSU":  # strings, such as the object graph
            continue
        tensor = _Tensor(
            *(tuple(shapes[key]), dtype, source, None, "TensorFlow reads it"),
            reader=reader,
            key=key,
        )
        layer, _, last = name.rpartition("/")
        if layer and (named.clean(last) in NAMED or named.is_companion(last)):
            named_arrays.append((layer, last, tensor))
        else:
            unaddressed.append((key.removesuffix(_VALUE), tensor, _kind(key, name)))
    variables, duplicates, notes = named.variables(named_arrays)
    unaddressed += duplicates
    return Checkpoint("tf", source, variables, unaddressed=unaddressed, notes=notes)


def _names(reader) -> dict[str, str]:
    """Returns the variables' names by checkpoint key, in the order of the object graph."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_GRAPH))
    names = {
        attribute.checkpoint_key: attribute.full_name or attribute.checkpoint_key
        for node in graph.nodes
        for attribute in node.attributes
        if reader.has_tensor(attribute.checkpoint_key)
    }
    # `Model.export` lists each variable twice, under two keys
    exported = any(key.startswith("variables/") for key in names)
    return {
        key: name
        for key, name in names.items()
        if not (exported and key.startswith("_all_variables/"))
    }


def _kind(key: str, name: str) -> str:
    """Returns the kind of an unaddressed array; see `OtherArray`."""
    if "optimizer" in key:
        return "optimizer"
    return "seed" if "seed_generator" in name else "other"
