"""Finds the layers of a SavedModel's variables in the functions that read them.

`Model.export` keeps a flat list of variables, whose names leave out inner models. The exported
function reads each of them in the scope of its layer: "functional_1/depth_1/conv1_1/convolution".
"""

import os
import pathlib
import re

from tfreuse.checkpoints.source import MAX_HEADER

_NUMBER = re.compile(r"_\d+$")  # TensorFlow numbers scopes that it enters again


def layers(folder: str | os.PathLike) -> dict[str, str]:
    """Returns the model and layer path of a variable by its place in the list, "variables/3".

    Empty if the functions do not read the variables in scopes of layers.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    path = pathlib.Path(folder, "saved_model.pb")
    if path.stat().st_size > MAX_HEADER:
        return {}
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(path.read_bytes())
    graph = model.meta_graphs[0]
    nodes = graph.object_graph_def.nodes
    listed = {child.local_name: child.node_id for child in nodes[0].children}
    if "variables" not in listed:
        return {}
    key_of_node = {
        child.node_id: f"variables/{child.local_name}"
        for child in nodes[listed["variables"]].children
    }
    functions = graph.object_graph_def.concrete_functions
    scopes: dict[str, list[str]] = {}
    for function in graph.graph_def.library.function:
        name = function.signature.name
        captured = functions[name].bound_inputs if name in functions else ()
        arguments = [argument.name for argument in function.signature.input_arg]
        variable = dict(zip(reversed(arguments), reversed(captured)))
        for node in function.node_def:
            if (
                node.op == "ReadVariableOp"
                and variable.get(node.input[0]) in key_of_node
            ):
                scope = node.name.split("/")[:-2]  # without the operation and its read
                scopes.setdefault(key_of_node[variable[node.input[0]]], scope)
    words = [word for scope in scopes.values() for word in scope]
    if not all(map(_NUMBER.search, words)):
        return {}
    return {
        name: "/".join(_NUMBER.sub("", word) for word in scope)
        for name, scope in scopes.items()
        if len(scope) > 1
    }
