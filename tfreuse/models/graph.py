"""How much smaller than the image a model's features are, and the stages that follow from it.

    strides(model)["conv3_block1_1_conv"]  # Strides(taken=4, given=8)
    stages(model)["conv3_block1_1_conv"]   # "encoder_4": features of an eighth of the side

For networks whose layers have other names than ours. Nothing is computed: shapes are followed
through the graph for an image of 512 pixels, or of the model's own size where it is fixed.
"""

import dataclasses
import fnmatch
import math
import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfreuse.errors import InputError, nearest, printable

_HEADS = ("head", "auxiliary")
_SIDE = 512  # pixels of the image where the model takes any
_POOLED = 8  # pixels of a side below which features of such an image are averages
OWN = re.compile(r"(encoder_\d+|decoder_\d+|bottleneck|pyramid|fusion|head|auxiliary)_")
Shape = tuple[int | None, ...]
_known: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Strides:
    """Pixels of the image per pixel of what a layer takes and gives; 0 where it is no image.

    A global average is none: what it gives is of no place.
    """

    taken: int
    given: int


def strides(model: keras.Model) -> dict[str, Strides]:
    """Strides of every layer of a functional model, in the model's order."""
    fixed = model.inputs[0].shape[1] or 0
    side = fixed or _SIDE
    least = 2 if fixed else _POOLED

    def stride(shape: Shape) -> int:
        if len(shape) != 4 or not shape[1] or shape[1] < least:
            return 0
        return 2 ** max(0, round(math.log2(side / shape[1])))

    called = calls(model, (side, model.inputs[0].shape[2] or side))
    return {
        layer.name: Strides(*map(stride, called[layer.name][0]))
        for layer in model.layers
        if layer.name in called
    }


def calls(
    model: keras.Model, image_size: tuple[int, int]
) -> dict[str, list[tuple[Shape, Shape]]]:
    """Shapes that each layer takes (its first input) and gives, for each time it is called.

    Args:
        model: a functional model.
        image_size: (H, W) of its input.
    """
    found: dict[str, list[tuple[Shape, Shape]]] = {}

    def call(layer, *args, **kwargs):
        output = layer(*args, **kwargs)
        if isinstance(layer, keras.Layer):
            shapes = _first((args, kwargs)).shape, _first(output).shape
            found.setdefault(layer.name, []).append(shapes)
        return output

    keras.models.clone_model(
        model,
        input_tensors=keras.tree.map_structure(
            lambda one: keras.Input(_sized(one.shape, image_size)[1:], dtype=one.dtype),
            model.input,
        ),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    return found


def copied(
    plain: keras.Model,
    images: keras.KerasTensor,
    prepared: keras.KerasTensor,
    change: Callable[[keras.Layer], keras.Layer],
    call: Callable[..., Any] = lambda layer, *args, **kwargs: layer(*args, **kwargs),
) -> keras.Model:
    """A copy of the model on other images, which a few layers prepare for it.

    Args:
        plain: a functional model of one input.
        images: the copy's input.
        prepared: what `images` became; stands where the model has its own input.
        change: gives the copy of a layer.
        call: calls a copied layer, as `call(layer, *args, **kwargs)`.
    """

    def on_prepared(layer, *args, **kwargs):
        args = keras.tree.map_structure(
            lambda value: prepared if value is images else value, args
        )
        return call(layer, *args, **kwargs)

    return keras.models.clone_model(
        plain, input_tensors=images, clone_function=change, call_function=on_prepared
    )


def stages(model: keras.Model) -> dict[str, str]:
    """The stage of every layer: "encoder_4" where features are an eighth of the image's side.

    On the way back from the smallest features stages are called "decoder_4" and so on, as
    `unet` calls its own. Layers with a name of ours are in the stage that it tells; a last
    1x1 convolution or dense layer is the "head".
    """
    if model not in _known:
        _known[model] = _stages(model)
    return _known[model]


def is_known(model: keras.Model) -> bool:
    """Whether the model's stages were found, or given, before."""
    return model in _known


def with_stages(model: keras.Model, globs: Sequence[str]) -> keras.Model:
    """Assigns stages by layer name instead of by the size of features; returns the model.

    Args:
        model: a functional model. The heads of `tfreuse.models` keep their stage.
        globs: STAGE=GLOB of layer names; the first that matches a layer counts, and a layer
            without weights joins the stage of the layer before it. None: nothing is changed.

    Raises:
        InputError: a layer with weights matches no glob, or a glob matches no layer.
    """
    if not globs:
        return model
    pairs = [tuple(one.split("=", 1)) for one in globs]
    names = [layer.name for layer in model.layers]
    for stage, glob in pairs:
        if not fnmatch.filter(names, glob):
            near = ", ".join(nearest(glob, names))
            raise InputError(
                f"--stages: {stage}={glob} fits no layer; nearest: {near}."
            )
    found, stage = {}, pairs[0][0]
    for layer in model.layers:
        own = OWN.match(layer.name)
        if own and own[1] in _HEADS:
            fits = [own[1]]
        else:
            fits = [s for s, glob in pairs if fnmatch.fnmatchcase(layer.name, glob)]
        given = fits[0] if fits else own and own[1]
        if given is None and layer.weights:
            raise InputError(
                f"--stages: the layer {printable(layer.name)} fits no glob."
            )
        stage = found[layer.name] = given or stage
    _known[model] = found
    return model


def _stages(model: keras.Model) -> dict[str, str]:
    own = {layer.name: OWN.match(layer.name) for layer in model.layers}
    given = dict.fromkeys(own, 0)
    if len(model.inputs[0].shape) == 4:
        given |= {name: one.given for name, one in strides(model).items()}
    deepest = max((n for name, n in given.items() if not own[name]), default=0)
    last = max((i for i, n in enumerate(given.values()) if n == deepest), default=-1)
    head = _head(model)
    found, stage = {}, "encoder_1"
    for i, (name, stride) in enumerate(given.items()):
        if stride:  # an average stays with what it is made from
            half = "decoder" if i > last else "encoder"
            stage = f"{half}_{stride.bit_length()}"
        found[name] = own[name][1] if own[name] else stage
    return found | dict.fromkeys(head, "head")


def _head(model: keras.Model) -> list[str]:
    """The last layer with weights, if it does but map features to outputs."""
    weighted = [layer for layer in model.layers if layer.weights]
    last = weighted[-1] if weighted else None
    dense = isinstance(last, keras.layers.Dense)
    conv = isinstance(last, keras.layers.Conv2D) and set(last.kernel_size) == {1}
    return [last.name] if dense or conv else []


def _sized(shape: Shape, image_size: tuple[int, int]) -> Shape:
    """The input's shape; of images, with the size."""
    return shape if len(shape) != 4 else (shape[0], *image_size, shape[-1])


def _first(tensors) -> keras.KerasTensor:
    return next(one for one in keras.tree.flatten(tensors) if hasattr(one, "shape"))
