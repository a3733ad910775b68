"""The network that a spec describes: an architecture of ours, or a network of the user's own.

    model = networks.build(ModelSpec(model="mine.keras"), task="segmentation", num_classes=5)
    model = networks.build(ModelSpec(model="mypackage.nets:make"), task="autoencoder", num_classes=0)

Of the user's network the structure is taken, with fresh parameters and with a head for the
task in place of its last layer, so that one network can be trained for two tasks. Its other
layers keep their names.
"""

import importlib
import inspect
import os
import sys

import keras

from tfreuse import models
from tfreuse.errors import InputError, nearest, printable
from tfreuse.models import blocks, graph, saving
from tfreuse.specs import ModelSpec

_UNIT = 0.02  # a first Rescaling below it makes [0, 1] of pixels from 0 to 255
_ACTIVATIONS = keras.layers.Activation, keras.layers.Softmax
_HEADS = keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.Dense


def build(
    spec: ModelSpec,
    *,
    task: str,
    num_classes: int,
    channels: int = 3,
    image_size: tuple[int | None, int | None] = (None, None),
    seed: int | None = None,
) -> keras.Model:
    """The network with fresh parameters, images [B, H, W, C] in [0, 1] to [B, H, W, K].

    Args: as of `models.build`.

    Raises:
        InputError: the network cannot be built with these options, or is not one that maps
            images to something of every pixel.
    """
    if not spec.model:
        model = models.build(
            spec,
            task=task,
            num_classes=num_classes,
            channels=channels,
            image_size=image_size,
            seed=seed,
        )
        return with_stages(model, spec)
    outputs = blocks.outputs(task, num_classes, channels)
    if seed is not None:
        keras.utils.set_random_seed(seed)
    if spec.model.endswith(".keras"):
        made = saving.load(spec.model)
    else:
        made = _call(spec.model, image_size, channels)
    plain = _functional(made, spec.model)
    images = keras.Input((*image_size, channels), dtype="float32", name="images")
    try:
        model = _for_task(plain, images, task, outputs)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"--model={printable(spec.model)} cannot be built for images of "
            f"{images.shape[1:]}: {printable(error, 300)}"
        ) from error
    return with_stages(model, spec)


def with_stages(model: keras.Model, spec: ModelSpec) -> keras.Model:
    """The model, which from now on has the stages that the spec gives, if it gives any."""
    if spec.stages:
        models.give_stages(model, spec.stages)
    return model


def check_image_size(
    spec: ModelSpec, image_size: tuple[int, int], channels: int = 3
) -> None:
    """Returns if the network takes images of (H, W) pixels and gives as many.

    Raises:
        InputError: it does not.
    """
    if not spec.model:
        models.check_image_size(spec, image_size)
        return
    model = build(
        spec,
        task="autoencoder",
        num_classes=0,
        channels=channels,
        image_size=image_size,
    )
    made = model.output.shape[1:3]
    if tuple(made) != tuple(image_size):
        mend = ",".join(map(str, made))  # which most networks give back as it is
        raise InputError(
            f"--model={printable(spec.model)} makes {made} of images of "
            f"{tuple(image_size)} pixels; both should be equal. Give --image_size={mend}."
        )


def _call(
    name: str, image_size: tuple[int | None, int | None], channels: int
) -> keras.Model:
    """What the function package.module:function makes."""
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise InputError(
            f"--model takes FILE.keras or package.module:function; got {printable(name)!r}."
        )
    here = os.getcwd()
    if here not in sys.path:  # as `python -m` would, so that one's own file is found
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"--model={printable(name)}: {printable(error)}; looked for from {here} and where "
            "packages are installed."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        near = nearest(function_name, (n for n in dir(module) if n[0] != "_"))
        raise InputError(
            f"--model={printable(name)}: {module_name} has no such function; nearest: "
            f"{', '.join(near)}."
        )
    try:
        inspect.signature(function).bind(image_size, channels)
    except TypeError as error:
        raise InputError(
            f"--model={printable(name)} is called as function((H, W), channels), H and W None "
            f"for any size; it takes {inspect.signature(function)}."
        ) from error
    return function(image_size, channels)


def _functional(made: object, name: str) -> keras.Model:
    """The model as a graph of layers with one input and one output.

    Raises:
        InputError: it is none.
    """
    told = f"--model={printable(name)}"
    if not isinstance(made, keras.Model):
        raise InputError(f"{told} gave {type(made).__name__}; expected a keras.Model.")
    inputs, outputs = (getattr(made, end, None) for end in ("inputs", "outputs"))
    if not inputs or not outputs:
        raise InputError(
            f"{told} is a subclassed or unbuilt model ({type(made).__name__}); its graph of "
            "layers is needed: make it by keras.Model(inputs, outputs), or keras.Sequential "
            "that begins with a keras.Input."
        )
    shapes = [tuple(one.shape) for one in (*inputs, *outputs)]
    if len(shapes) != 2 or any(len(shape) != 4 for shape in shapes):
        raise InputError(
            f"{told} has inputs and outputs of the shapes {shapes}; expected one of images "
            "[B, H, W, C] and one of as many pixels [B, H, W, K]. Of a classifier give "
            "--encoder=keras.NAME, or its part before the pooling."
        )
    return keras.Model(inputs[0], outputs[0], name=made.name)


def _for_task(
    plain: keras.Model, images: keras.KerasTensor, task: str, outputs: int
) -> keras.Model:
    """Fresh layers of the same structure, the last with weights replaced by the task's head.

    What follows the head and is no activation, such as resizing, stays.
    """
    last = max((i for i, one in enumerate(plain.layers) if one.weights), default=-1)
    head = plain.layers[last]
    if last < 0 or not isinstance(head, _HEADS):
        raise ValueError(
            f"its last layer with weights is {printable(head.name)}, "
            f"{type(head).__name__}; expected a convolution that gives the output"
        )
    behind = {one.name for one in plain.layers[last + 1 :]}

    def copy(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer is head:
            size = "units" if isinstance(head, keras.layers.Dense) else "filters"
            config |= {size: outputs, "activation": "linear", "dtype": "float32"}
            config["name"] = f"head_{task}_conv"
        return layer.__class__.from_config(config)

    def call(layer, *args, **kwargs):
        if layer.name in behind and isinstance(layer, _ACTIVATIONS):
            return args[0]  # losses take logits, and images as they are
        return layer(*args, **kwargs)

    return graph.laid(plain, images, _prepared(plain, images), copy, call)


def _prepared(plain: keras.Model, images: keras.KerasTensor) -> keras.KerasTensor:
    """The images as the network wants them: of its channels, and from 0 to 255 if it does."""
    wanted, given = plain.inputs[0].shape[-1], images.shape[-1]
    if given == 1 and wanted:
        join = keras.layers.Concatenate(name="preprocessing_channels")
        images = join([images] * wanted) if wanted > 1 else images
    elif wanted not in (None, given):
        raise ValueError(
            f"it takes {wanted} channels and the images have {given}; give --channels={wanted}"
        )
    first = next(
        (one for one in plain.layers if not isinstance(one, keras.layers.InputLayer)),
        None,
    )
    if isinstance(first, keras.layers.Rescaling) and abs(_scale(first)) < _UNIT:
        rescale = keras.layers.Rescaling(255.0, name="preprocessing_scale")
        images = rescale(images)
    return images


def _scale(layer: keras.layers.Rescaling) -> float:
    return float(max(keras.tree.flatten(layer.scale), key=abs))
