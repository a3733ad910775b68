"""The grammar of layer names: `<stage>_<block>_<op>`, for example `encoder_1_a_conv`.

Names are an interface: transplants select by them and records hold them. Every number ends at
a delimiter, so `encoder_1_*` never selects `encoder_10_a_conv`. No name depends on an option,
except that those of the heads hold the task: heads of two tasks never match.

    unet     encoder_1 .. encoder_N, bottleneck, decoder_N .. decoder_1, head
    pspnet   conv1, conv2 .. conv5, pyramid, fusion, head, auxiliary
"""

import re

import keras

from tfreuse.errors import InputError, printable

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
    found = {}
    for layer in model.layers:
        match = _STAGE.match(layer.name)
        if match and not layer.name.endswith("_pool"):
            found[match[1]] = layer.name
    return found


def stages(model: keras.Model) -> dict[str, list[str]]:
    """Stages from input to output, each with the names of its layers that have weights.

    The auxiliary head, a branch, comes last.

    Raises:
        InputError: a layer with weights does not follow the grammar of names.
    """
    found: dict[str, list[str]] = {}
    for layer in model.layers:
        if layer.weights:
            found.setdefault(stage_of(layer.name), []).append(layer.name)
    if "auxiliary" in found:
        found["auxiliary"] = found.pop("auxiliary")
    return found
