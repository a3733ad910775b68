"""The grammar of layer names: `<stage>_<block>_<op>`, for example `encoder_1_a_conv`.

Names are an interface: transplants select by them and records hold them. Every number ends at
a delimiter, so `encoder_1_*` never selects `encoder_10_a_conv`. No name depends on an option,
except that those of the heads hold the task: heads of two tasks never match.

    unet     encoder_1 .. encoder_N, bottleneck, decoder_N .. decoder_1, head
    pspnet   conv1, conv2 .. conv5, pyramid, fusion, head, auxiliary

Networks with other names, and encoders from elsewhere, are divided by the size of their
features: encoder_<n> and decoder_<n> where the image was halved n - 1 times.
"""

import re

import keras

from tfreuse.errors import InputError, printable
from tfreuse.models import graph

_STAGE = re.compile(
    r"(encoder_\d+|decoder_\d+|bottleneck|conv\d+|pool1|pyramid|fusion|head|auxiliary)_"
)


def stage_of(layer_name: str) -> str:
    """The stage that a layer belongs to: "encoder_1" of "encoder_1_a_conv".

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
    """Name of the layer whose output leaves each stage, by stage; pooling is not counted in."""
    of_layer, weighted = _stages_of_layers(model), stages(model)
    found = {}
    for layer in model.layers:
        stage = of_layer.get(layer.name)
        if stage in weighted and not _is_passage(layer):
            found[stage] = layer.name
    return {stage: found[stage] for stage in weighted}


def stages(model: keras.Model) -> dict[str, list[str]]:
    """Stages from input to output, each with the names of its layers that have weights.

    By their names where all follow the grammar, else by the size of their features (`graph`).
    The auxiliary head, a branch, comes last.

    Raises:
        InputError: a layer with weights does not follow the grammar of names, and the model
            is no graph of layers.
    """
    of_layer = _stages_of_layers(model)
    found: dict[str, list[str]] = {}
    for layer in model.layers:
        if layer.weights:
            found.setdefault(of_layer[layer.name], []).append(layer.name)
    if "auxiliary" in found:
        found["auxiliary"] = found.pop("auxiliary")
    return found


def _stages_of_layers(model: keras.Model) -> dict[str, str]:
    """The stage of every layer; of those without weights only where it is known."""
    if graph.is_known(model):
        return graph.stages(model)
    named = {layer.name: _STAGE.match(layer.name) for layer in model.layers}
    foreign = [one.name for one in model.layers if one.weights and not named[one.name]]
    if not foreign:
        return {name: match[1] for name, match in named.items() if match}
    if not getattr(model, "inputs", None):
        stage_of(foreign[0])  # says what names are expected
    return graph.stages(model)


def _is_passage(layer: keras.Layer) -> bool:
    """Whether it only prepares features for the next stage."""
    return layer.name.endswith("_pool") or isinstance(
        layer, keras.layers.ZeroPadding2D | keras.layers.MaxPooling2D
    )
