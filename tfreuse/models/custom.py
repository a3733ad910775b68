"""Custom models: the structure of the user's network with a head for the task.

    model = custom.network("mine.keras", (64, 64), 3, task="segmentation", num_classes=5)
    model = custom.network("mypackage.nets:make", task="autoencoder", num_classes=0)

Parameters are fresh, but for the statistics that Normalization layers were adapted to. The head of
the task replaces the last layer, so that one structure can be trained for two tasks. All other
layers keep their names; those of a nested network take its place (`graph.flattened`).
`models.build` calls this.
"""

import importlib
import inspect
import os
import sys
from typing import Any

import keras
import numpy as np

from tfreuse.errors import InputError, nearest, printable, reason
from tfreuse.models import blocks, endings, graph, made_up_names, saving
from tfreuse.models.images import check_channels_last
from tfreuse.transplant import derived

# A Rescaling as first layer with a smaller scale maps pixels from 0 to 255 to about [0, 1].
_LARGEST_PIXEL_SCALE = 0.02
_LARGEST_UNIT = 2.0  # means and deviations above it are not those of images in [0, 1]
_ACTIVATIONS = keras.layers.Activation, keras.layers.Softmax
HEADS = keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.Dense


def network(
    source: str,
    image_size: tuple[int | None, int | None] = (None, None),
    channels: int = 3,
    *,
    task: str,
    num_classes: int,
) -> keras.Model:
    """Builds a custom network for a task, with fresh parameters.

    Args:
        source: FILE.keras, or package.module:function, which is called with `image_size` and
            `channels` and returns a keras.Model.
        image_size: (H, W) in pixels; None leaves a side free.
        channels: channels of the images.
        task: "segmentation" or "autoencoder".
        num_classes: classes of the segmentation; an auto-encoder ignores it.

    Returns:
        Images [B, H, W, channels], float32 in [0, 1] -> float32 [B, H, W, K], K as in `unet`.

    Raises:
        InputError: `source` cannot be loaded, does not map images to one vector per pixel, or
            does not fit images of this size.
    """
    outputs = blocks.outputs(task, num_classes, channels)
    if source.endswith(".keras"):
        model: Any = saving.load(source)
    else:
        model = _call(source, image_size, channels)
    original = graph_of_layers(model, f"--model={printable(source)}")
    check_channels_last(original, channels)
    images = keras.Input((*image_size, channels), dtype="float32", name="images")
    try:
        return _for_task(original, images, task, outputs)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"--model={printable(source)} cannot be built for images of "
            f"{images.shape[1:]}: {reason(error, 300)}."
        ) from error


def _call(
    source: str, image_size: tuple[int | None, int | None], channels: int
) -> object:
    """Calls the function package.module:function and returns its result, not yet checked."""
    module_name, _, function_name = source.partition(":")
    directory = os.getcwd()
    if directory not in sys.path:  # a console command's path lacks it
        sys.path.insert(0, directory)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"--model={printable(source)}: {reason(error)}; looked for from {directory} "
            "and where packages are installed."
        ) from error
    except Exception as error:  # of the user's code: any
        raise _raised(source, module_name, error) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        near = nearest(function_name, (n for n in dir(module) if n[0] != "_"))
        raise InputError(
            f"--model={printable(source)}: {module_name} has no such function; nearest: "
            f"{', '.join(near)}."
        )
    try:
        inspect.signature(function).bind(image_size, channels)
    except TypeError as error:
        raise InputError(
            f"--model={printable(source)} is called as function((H, W), channels), H and W "
            f"None for any size; it takes {inspect.signature(function)}."
        ) from error
    try:
        return made_up_names.counted_anew(lambda: function(image_size, channels))
    except InputError:
        raise
    except Exception as error:  # of the user's code: any
        raise _raised(source, function_name, error) from error


def _raised(source: str, name: str, error: Exception) -> InputError:
    return InputError(
        f"--model={printable(source)}: {printable(name)} raised {type(error).__name__}: "
        f"{reason(error, 300)}. --debug shows where."
    )


def graph_of_layers(model: object, flag: str, *, logits: bool = True) -> keras.Model:
    """Returns the model as a graph of layers with one input and one output, without nesting.

    Args:
        model: a functional or Sequential model; its layers are shared.
        flag: the flag that gave it, with its value, for errors.
        logits: leave a last softmax, sigmoid or argmax away.

    Raises:
        InputError: the object is no such model.
    """
    if not isinstance(model, keras.Model):
        raise InputError(f"{flag} gave {type(model).__name__}; expected a keras.Model.")
    if isinstance(getattr(model, "output", None), dict) and "head" in model.output:
        model = keras.Model(model.input, model.output["head"], name=model.name)
    inputs, outputs = (getattr(model, end, None) for end in ("inputs", "outputs"))
    if not inputs or not outputs:
        raise InputError(
            f"{flag} is a subclassed or unbuilt model ({type(model).__name__}); its graph of "
            "layers is needed: make it by keras.Model(inputs, outputs), or keras.Sequential "
            "that begins with a keras.Input."
        )
    if logits and len(inputs) == len(outputs) == 1:
        model, _ = endings.without_argmax(model)
        model, _ = endings.logits(model)
        outputs = model.outputs
    shapes = [tuple(tensor.shape) for tensor in (*inputs, *outputs)]
    if len(shapes) != 2 or any(len(shape) != 4 for shape in shapes):
        raise InputError(
            f"{flag} has inputs and outputs of the shapes {shapes}; expected one of images "
            "[B, H, W, C] and one of as many pixels [B, H, W, K]. Of a classifier give "
            "--encoder=keras.NAME, or its part before the pooling."
        )
    return graph.flattened(keras.Model(inputs[0], outputs[0], name=model.name))


def _for_task(
    original: keras.Model, images: keras.KerasTensor, task: str, outputs: int
) -> keras.Model:
    """Copies the layers; the task's head replaces the last layer with weights.

    Layers behind the head stay, such as a resizing, but not activations.
    """
    head = graph.last_layer(original) or original.layers[-1]
    is_head = isinstance(head, HEADS)
    if not is_head:
        raise ValueError(
            f"its last layer with weights is {printable(head.name)}, "
            f"{type(head).__name__}; expected a convolution that gives the output"
        )
    behind = original.layers.index(head) + 1
    behind_head = {layer.name for layer in original.layers[behind:]}

    def copy(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer is head:
            size = "units" if isinstance(head, keras.layers.Dense) else "filters"
            config |= {size: outputs, "activation": "linear", "dtype": "float32"}
            config["name"] = f"head_{task}_conv"
        return layer.__class__.from_config(config)

    def call(layer, *args, **kwargs):
        if layer.name in behind_head and isinstance(layer, _ACTIVATIONS):
            return args[0]  # losses take logits, and images without an activation
        return layer(*args, **kwargs)

    prepared = _prepared(original, images)
    model = graph.copied(original, images, prepared, copy, call)
    derived.copy_statistics(original, model)
    return model


def _prepared(original: keras.Model, images: keras.KerasTensor) -> keras.KerasTensor:
    """Adapts [0, 1] images to the original's channels and to its range of pixels."""
    expected, channels = original.inputs[0].shape[-1], images.shape[-1]
    if channels == 1 and expected:
        join = keras.layers.Concatenate(name="preprocessing_channels")
        images = join([images] * expected) if expected > 1 else images
    elif expected not in (None, channels):
        raise ValueError(
            f"it takes {expected} channels and the images have {channels}; give "
            f"--channels={expected}"
        )
    if takes_pixels(original):
        rescale = keras.layers.Rescaling(255.0, name="preprocessing_scale")
        images = rescale(images)
    return images


def takes_pixels(model: keras.Model) -> bool:
    """Returns whether a model takes pixels from 0 to 255, by the scaling of its first layer."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            return takes_pixels(layer)
        if isinstance(layer, keras.layers.Rescaling):
            return _scale(layer) < _LARGEST_PIXEL_SCALE
        if isinstance(layer, keras.layers.Normalization):
            mean, variance = map(np.asarray, (layer.mean, layer.variance))
            return max(np.abs(mean).max(), variance.max() ** 0.5) > _LARGEST_UNIT
        if not isinstance(layer, keras.layers.InputLayer | keras.layers.Resizing):
            return False
    return False


def from_unit_range(model: keras.Model) -> keras.Model:
    """Returns the model for images in [0, 1]; itself unless it takes pixels from 0 to 255."""
    if not takes_pixels(model):
        return model
    images = keras.Input(model.inputs[0].shape[1:])
    return keras.Model(images, model(keras.layers.Rescaling(255.0)(images)))


def _scale(layer: keras.layers.Rescaling) -> float:
    """Returns the largest absolute scale of a channel."""
    return float(max(map(abs, keras.tree.flatten(layer.scale))))
