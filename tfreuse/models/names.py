"""The grammar of layer names: `<stage>_<block>_<op>`, for example `encoder_1_a_conv`.

Names are an interface: transplants select by them and records hold them. Every number ends at
a delimiter, so `encoder_1_*` never selects `encoder_10_a_conv`. No name depends on an option,
except that heads' names contain the task, so that the heads of two tasks never match.

    unet     encoder_1 .. encoder_N, bottleneck, decoder_N .. decoder_1, head
    pspnet   conv1, conv2 .. conv5, pyramid, fusion, head, auxiliary

Custom networks and foreign encoders have other names. Their stages follow the size of the
features: encoder_<n> and decoder_<n> where the image was halved n - 1 times (see `graph`).
"""

import re

import keras

from tfreuse.errors import InputError, printable
from tfreuse.models import graph

_STAGE = re.compile(
    r"(encoder_\d+|decoder_\d+|bottleneck|conv\d+|pool1|pyramid|fusion|head|auxiliary)_"
)


def stage_of(layer_name: str) -> str:
    """Returns the stage that a layer belongs to: "encoder_1" of "encoder_1_a_conv".

    Raises:
        InputError: the name does not follow the grammar.
    """
    match = _STAGE.match(layer_name)
    if match is None:
        raise InputError(
            f"layer {printable(layer_name)!r} is in no stage: names start with encoder_<n>_, "
            "bottleneck_, decoder_<n>_, conv<n>_, pyramid_, fusion_, head_ or auxiliary_."
        )
    return match[1]


def stage_ends(model: keras.Model) -> dict[str, str]:
    """Returns the last layer of each stage by name, not counting pooling and padding."""
    stage_of_layer, weighted = stages_of_layers(model), stages(model)
    ends = {}
    for layer in model.layers:
        stage = stage_of_layer.get(layer.name)
        if stage in weighted and not _is_transition(layer):
            ends[stage] = layer.name
    return {stage: ends[stage] for stage in weighted}


def stages(model: keras.Model) -> dict[str, list[str]]:
    """Returns the stages from input to output with the names of their layers with weights.

    By layer names if all follow the grammar, otherwise by the size of features (`graph`).
    The auxiliary head, a branch, comes last.

    Raises:
        InputError: a layer with weights does not follow the grammar of names, and the model
            is not a graph of layers.
    """
    stage_of_layer = stages_of_layers(model)
    layers: dict[str, list[str]] = {}
    for layer in model.layers:
        if layer.weights:
            layers.setdefault(stage_of_layer[layer.name], []).append(layer.name)
    if "auxiliary" in layers:
        layers["auxiliary"] = layers.pop("auxiliary")
    return layers


def stages_of_layers(model: keras.Model) -> dict[str, str]:
    """Returns the stage of every layer; layers without weights may be missing."""
    if graph.has_stages(model):
        return graph.stages(model)
    matches = {layer.name: _STAGE.match(layer.name) for layer in model.layers}
    foreign = [
        layer.name
        for layer in model.layers
        if layer.weights and not matches[layer.name]
    ]
    if not foreign:
        return {name: match[1] for name, match in matches.items() if match}
    if not getattr(model, "inputs", None):
        stage_of(foreign[0])  # raises the error that lists the expected names
    return graph.stages(model)


def _is_transition(layer: keras.Layer) -> bool:
    """Returns whether the layer only prepares features for the next stage."""
    return layer.name.endswith("_pool") or isinstance(
        layer, keras.layers.ZeroPadding2D | keras.layers.MaxPooling2D
    )
