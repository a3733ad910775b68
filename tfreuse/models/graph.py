"""Strides of a model's features, and the stages of a model that follow from them.

    strides(model)["conv3_block1_1_conv"]  # Strides(input=4, output=8)
    stages(model)["conv3_block1_1_conv"]   # "encoder_4": features of an eighth of the side

For networks whose layer names do not follow the grammar of `names`. Nothing is computed: shapes
are followed through the graph for an image of 512 pixels, or of the model's fixed size.
"""

import collections
import dataclasses
import fnmatch
import math
import re
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import keras

from tfreuse.errors import InputError, nearest, printable

_HEADS = ("head", "auxiliary")
_SIDE = 512  # pixels of the image where the model's sides are free
# Features of a 512-pixel image with a shorter side are averages over the image, not features
# of positions: the smallest maps of classifiers have 16 pixels a side.
_SMALLEST_SIDE = 8
_STAGE_PREFIX = re.compile(
    r"(encoder_\d+|decoder_\d+|bottleneck|pyramid|fusion|head|auxiliary)_"
)
Shape = tuple[int | None, ...]

# By model, outside of it: Keras would track an attribute as part of the model. An entry goes
# when its model is garbage-collected.
_STAGES: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Strides:
    """Pixels of the image per pixel of a layer's input and output.

    0: the tensor is no feature map, or a global average, which has no position.
    """

    input: int
    output: int


def strides(model: keras.Model) -> dict[str, Strides]:
    """Returns the strides of every layer of a functional model, in the model's order."""
    fixed = model.inputs[0].shape[1] or 0
    side = fixed or _SIDE
    smallest = 2 if fixed else _SMALLEST_SIDE

    def stride(shape: Shape) -> int:
        if len(shape) != 4 or not shape[1] or shape[1] < smallest:
            return 0
        return 2 ** max(0, round(math.log2(side / shape[1])))

    shapes = calls(model, (side, model.inputs[0].shape[2] or side))
    return {
        layer.name: Strides(*map(stride, shapes[layer.name][0]))
        for layer in model.layers
        if layer.name in shapes
    }


def calls(
    model: keras.Model, image_size: tuple[int, int]
) -> dict[str, list[tuple[Shape, Shape]]]:
    """Returns the shapes of each layer's (first input, first output), one pair per call.

    Args:
        model: a functional model.
        image_size: (H, W) of its input.
    """
    shapes: dict[str, list[tuple[Shape, Shape]]] = {}

    def call(layer, *args, **kwargs):
        output = layer(*args, **kwargs)
        if isinstance(layer, keras.Layer):
            pair = _first_tensor((args, kwargs)).shape, _first_tensor(output).shape
            shapes.setdefault(layer.name, []).append(pair)
        return output

    keras.models.clone_model(
        model,
        input_tensors=keras.tree.map_structure(
            lambda tensor: keras.Input(
                _with_size(tensor.shape, image_size)[1:], dtype=tensor.dtype
            ),
            model.input,
        ),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    return shapes


def copied(
    model: keras.Model,
    images: keras.KerasTensor,
    prepared: keras.KerasTensor,
    copy_layer: Callable[[keras.Layer], keras.Layer],
    call: Callable[..., Any] = lambda layer, *args, **kwargs: layer(*args, **kwargs),
) -> keras.Model:
    """Copies a model onto another input, with layers of preprocessing in front.

    Args:
        model: a functional model of one input.
        images: the copy's input.
        prepared: the preprocessed `images`; replaces the model's own input.
        copy_layer: returns the copy of a layer.
        call: calls a copied layer, as `call(layer, *args, **kwargs)`.
    """

    def call_on_prepared(layer, *args, **kwargs):
        args = keras.tree.map_structure(
            lambda value: prepared if value is images else value, args
        )
        return call(layer, *args, **kwargs)

    return keras.models.clone_model(
        model,
        input_tensors=images,
        clone_function=copy_layer,
        call_function=call_on_prepared,
    )


def flattened(model: keras.Model) -> keras.Model:
    """Returns a view with the layers of nested networks in place of these networks.

    Layers are shared and keep their names where these are unique; others are renamed to begin
    with their network's name, "body_conv". Networks that are no graph of layers stay layers.
    A fixed `training` argument of a call (`base(x, training=False)`) is left out: it belongs
    to a fine-tuning of given values, and batch normalization of fresh values needs its batch.

    Args:
        model: a functional model.
    """
    _make_names_unique(model)

    def call(layer, *args, **kwargs):
        kwargs.pop("training", None)
        inner = _inner_graph(layer)
        # The order of inputs by name depends on the network's code.
        if inner is None or isinstance(args[0], dict):
            return layer(*args, **kwargs)
        output = inner._run_through_graph(args[0], call_fn=call)
        return output[0] if isinstance(output, list) and len(output) == 1 else output

    return keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )


def last_layer(model: keras.Model) -> keras.Layer | None:
    """Returns the last layer with weights; of a nested network that is last, its last layer."""
    for layer in reversed(model.layers):
        if layer.weights:
            return last_layer(layer) if _inner_graph(layer) else layer
    return None


def _inner_graph(layer: keras.Layer) -> keras.Model | None:
    """Returns the graph of a network that is a layer, None if it is no graph of layers."""
    graph = layer._functional if isinstance(layer, keras.Sequential) else layer
    is_graph = isinstance(graph, keras.Model) and hasattr(graph, "_run_through_graph")
    own_call = not type(layer).call.__module__.startswith("keras.")
    return graph if is_graph and not own_call else None


def _make_names_unique(model: keras.Model) -> None:
    """Renames layers of nested networks that have a name with another layer in common."""
    layers = {id(layer): (layer, outer) for layer, outer in _flat_layers(model)}
    count = collections.Counter(layer.name for layer, _ in layers.values())
    for layer, outer in layers.values():
        if outer and count[layer.name] > 1:
            layer.name = f"{outer}_{layer.name}"


def _flat_layers(model: keras.Model, outer: str = "") -> Iterator[tuple]:
    """Yields layers that are not networks, each with the names of the networks around it."""
    for layer in model.layers:
        if _inner_graph(layer) is None:
            yield layer, outer
        else:
            name = f"{outer}_{layer.name}" if outer else layer.name
            yield from _flat_layers(layer, name)


def stages(model: keras.Model) -> dict[str, str]:
    """Returns the stage of every layer: "encoder_4" where features have 1/8 of the side.

    After the smallest features, stages are called "decoder_4" and so on, as in `unet`. A layer
    whose name begins with a stage of `names` is in that stage; a final 1x1 convolution or dense
    layer is the "head".
    """
    if model not in _STAGES:
        _STAGES[model] = by_size(model)
    return _STAGES[model]


def has_stages(model: keras.Model) -> bool:
    """Returns whether the model's stages were computed or assigned before."""
    return model in _STAGES


def with_stages(model: keras.Model, globs: Sequence[str]) -> keras.Model:
    """Assigns stages by layer name instead of by the size of features; returns the model.

    Args:
        model: a functional model. The heads of `tfreuse.models` keep their stage.
        globs: STAGE=GLOB of layer names; the first that matches a layer counts, and a layer
            without weights joins the stage of the layer before it. Empty: nothing is changed.

    Raises:
        InputError: a layer with weights matches no glob, or a glob matches no layer.
    """
    if not globs:
        return model
    pairs = [tuple(text.split("=", 1)) for text in globs]
    names = [layer.name for layer in model.layers]
    for stage, glob in pairs:
        if not fnmatch.filter(names, glob):
            near = ", ".join(nearest(glob, names))
            raise InputError(
                f"--stages: {stage}={glob} fits no layer; nearest: {near}."
            )
    stage_of_layer, stage = {}, pairs[0][0]
    for layer in model.layers:
        prefix = _STAGE_PREFIX.match(layer.name)
        if prefix and prefix[1] in _HEADS:
            matches = [prefix[1]]
        else:
            matches = [s for s, glob in pairs if fnmatch.fnmatchcase(layer.name, glob)]
        if not matches and prefix:
            matches = [prefix[1]]
        if not matches and layer.weights:
            raise InputError(
                f"--stages: the layer {printable(layer.name)} fits no glob."
            )
        stage = stage_of_layer[layer.name] = matches[0] if matches else stage
    _STAGES[model] = stage_of_layer
    return model


def with_heads(
    model: keras.Model, stage_of_layer: Mapping[str, str], heads: Collection[str]
) -> keras.Model:
    """Assigns the stage "head", which is never replaced, to more layers; returns the model.

    Args:
        model: a functional model.
        stage_of_layer: the stages of its other layers.
        heads: names of layers.
    """
    _STAGES[model] = dict(stage_of_layer) | dict.fromkeys(heads, "head")
    return model


def by_size(model: keras.Model) -> dict[str, str]:
    """Returns the stages as `stages`, whatever stages were assigned to the model."""
    prefixes = {layer.name: _STAGE_PREFIX.match(layer.name) for layer in model.layers}
    output_strides = dict.fromkeys(prefixes, 0)
    if len(model.inputs[0].shape) == 4:
        output_strides |= {name: s.output for name, s in strides(model).items()}
    foreign = [stride for name, stride in output_strides.items() if not prefixes[name]]
    deepest = max(foreign, default=0)
    # The decoder begins behind the last layer of the largest stride.
    last = max(
        (i for i, stride in enumerate(output_strides.values()) if stride == deepest),
        default=-1,
    )
    stage_of_layer, stage = {}, "encoder_1"
    for i, (name, stride) in enumerate(output_strides.items()):
        if stride:  # a global average stays in the stage of its input
            half = "decoder" if i > last else "encoder"
            stage = f"{half}_{stride.bit_length()}"
        stage_of_layer[name] = prefixes[name][1] if prefixes[name] else stage
    return stage_of_layer | dict.fromkeys(_head(model), "head")


def _head(model: keras.Model) -> list[str]:
    """Returns the last layer with weights if it maps features to outputs pixel by pixel."""
    weighted = [layer for layer in model.layers if layer.weights]
    last = weighted[-1] if weighted else None
    dense = isinstance(last, keras.layers.Dense)
    conv = isinstance(last, keras.layers.Conv2D) and set(last.kernel_size) == {1}
    return [last.name] if dense or conv else []


def _with_size(shape: Shape, image_size: tuple[int, int]) -> Shape:
    """Sets H and W of an image's shape; other shapes are returned unchanged."""
    return shape if len(shape) != 4 else (shape[0], *image_size, shape[-1])


def _first_tensor(structure) -> keras.KerasTensor:
    return next(
        leaf for leaf in keras.tree.flatten(structure) if hasattr(leaf, "shape")
    )
