"""Reads TensorFlow checkpoints, and the variables of a SavedModel.

The only format that needs TensorFlow, which is imported when such a file is opened. Names are
those that layers gave their variables ("conv1/kernel"), or their models' attributes: see
`tf_objects`.
"""

import dataclasses
import os
import pathlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfreuse.checkpoints import named, tf_objects, tf_scopes
from tfreuse.checkpoints.arrays import WholeArray
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, reason
from tfreuse.roles import NAMED

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # key of the object graph in a TF2 checkpoint


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
    index = path.parent / f"{path.name}.index"
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
        graph_variables = _with_scopes(_variables(reader, shapes), path)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        os.close(source.descriptor)
        raise InputError(
            f"{path} cannot be read as a TensorFlow checkpoint: {reason(error)}."
        ) from error
    named_arrays, unaddressed = [], []
    for variable in graph_variables:
        key = variable.key
        dtype = np.dtype(types[key].as_numpy_dtype)
        if dtype.kind in "OSU":  # strings, such as the object graph
            continue
        tensor = _Tensor(
            *(tuple(shapes[key]), dtype, source, None, "TensorFlow reads it"),
            reader=reader,
            key=key,
        )
        if variable.kind == "layer":
            named_arrays.append((variable.layer, variable.name, tensor))
        else:
            path = f"{variable.layer}/{variable.name}".removeprefix("/")
            unaddressed.append((path, tensor, variable.kind))
    variables, duplicates, notes = named.variables(named_arrays)
    unaddressed += duplicates
    return Checkpoint("tf", source, variables, unaddressed=unaddressed, notes=notes)


def _variables(reader, shapes: Iterable[str]) -> list[tf_objects.Named]:
    """Returns the variables of a checkpoint; of one of TensorFlow 1 by their names alone."""
    if _GRAPH not in shapes:
        return [_by_name(key) for key in shapes]
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_GRAPH))
    return [v for v in tf_objects.variables(graph) if reader.has_tensor(v.key)]


def _with_scopes(
    variables: list[tf_objects.Named], path: str
) -> list[tf_objects.Named]:
    """Gives variables that share their names the layers in whose scopes a SavedModel reads them.

    Unchanged where a scope does not end in the layer that the variable's own name has, or hold
    the subclassed model that it has instead.
    """
    folder = pathlib.Path(path).parent.parent
    count = Counter((v.layer, v.name) for v in variables if v.kind == "layer")
    shared = {layer for (layer, _), number in count.items() if number > 1}
    if not shared or not (folder / "saved_model.pb").is_file():
        return variables
    layers = tf_scopes.layers(folder)
    changed = []
    for variable in variables:
        scope = layers.get(variable.key.partition("/.")[0])
        if variable.kind == "layer" and variable.layer in shared:
            model, _, below = (scope or "").partition("/")
            if variable.layer == model and below:
                variable = dataclasses.replace(variable, layer=below)
            elif scope and scope.rpartition("/")[2] == variable.layer:
                variable = dataclasses.replace(variable, layer=below or model)
            elif variable.layer in below.split("/")[:-1]:  # a subclassed inner model
                variable = dataclasses.replace(variable, layer=below)
        changed.append(variable)
    return changed


def _by_name(key: str) -> tf_objects.Named:
    """Returns a variable by its name: TensorFlow 1 calls slots "conv1/kernel/Adam"."""
    layer, _, last = key.rpartition("/")
    if layer and (named.clean(last) in NAMED or named.is_companion(last)):
        return tf_objects.Named(key, layer, last, "layer")
    slot = named.clean(layer.rpartition("/")[2]) in NAMED
    return tf_objects.Named(key, layer, last, "optimizer" if slot else "other")
