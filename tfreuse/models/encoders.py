"""Encoders from elsewhere, without their weights: keras.applications by name, keras-cv's ResNets.

    features = encoders.features("keras.MobileNetV2", images)          # images in [0, 1]
    # {2: [B, H/2, W/2, 96], 4: [B, H/4, W/4, 144], ..., 32: [B, H/32, W/32, 1280]}
    features = encoders.features("keras.ResNet50", images, keep=8)     # none smaller than H/8

Layers keep their names, so that pre-trained weights reach them by transplant. What the weights
expect of an image (-1 to 1, or BGR less ImageNet's mean) is done by layers in front of them.
"""

import functools
import inspect
from collections.abc import Callable
from types import ModuleType

import keras
import numpy as np

from tfreuse import kerascv
from tfreuse.errors import InputError, nearest, printable
from tfreuse.models import graph
from tfreuse.models.layers import ReverseChannels
from tfreuse.specs import KERAS, KERAS_CV

_CHANNELS = 3  # of the images that pre-trained weights are for
_CONVOLUTIONS = (
    keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D,
)  # fmt: skip
_POOLS = keras.layers.MaxPooling2D, keras.layers.AveragePooling2D

_Prepare = Callable[[keras.KerasTensor], keras.KerasTensor]


def features(
    name: str, images: keras.KerasTensor, keep: int = 0
) -> dict[int, keras.KerasTensor]:
    """The last features of each size, with fresh parameters.

    Args:
        name: "keras.NAME", a model of keras.applications, or "keras_cv.ResNet18" and so on.
        images: [B, H, W, C] in [0, 1], C 1 or 3; grey-scale images are given to it as RGB.
        keep: stride beyond which features keep their size, convolutions being dilated instead,
            as in PSPNet (arXiv:1612.01105, section 3.2): at places that the encoder itself
            would have kept, they are what it would have found. Pooling is not dilated. 0: none.

    Returns:
        By stride, pixels of the image per pixel of the encoder's own features: [B, H / stride,
        W / stride, C], with `keep` no smaller than H / keep.

    Raises:
        InputError: there is no such encoder, or it cannot be built for these images.
    """
    plain, prepare = _keras(name) if name.startswith(KERAS) else _keras_cv(name)
    if images.shape[-1] not in (1, _CHANNELS):
        raise InputError(
            f"--encoder={printable(name)} takes images of 1 or {_CHANNELS} channels; "
            f"got {images.shape[-1]}."
        )
    try:
        strides = graph.strides(plain)
        change = _keeping(strides, keep) if keep else _copy
        laid = graph.copied(plain, images, prepare(images), change)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"--encoder={printable(name)} cannot be built for images of {images.shape[1:]}: "
            f"{printable(' '.join(str(error).split()), 200)}"
        ) from error
    ends = {
        strides[layer.name].given: layer.name
        for layer in plain.layers
        if layer.name in strides and not isinstance(layer, keras.layers.ZeroPadding2D)
    }
    return {
        stride: laid.get_layer(end).output
        for stride, end in sorted(ends.items())
        if stride > 1
    }


def _copy(layer: keras.Layer) -> keras.Layer:
    return layer.__class__.from_config(layer.get_config())


def _keeping(
    strides: dict[str, graph.Strides], keep: int
) -> Callable[[keras.Layer], keras.Layer]:
    """Copies layers; those that take features `keep` times smaller, with their size kept."""

    def change(layer: keras.Layer) -> keras.Layer:
        beyond = strides[layer.name].taken // keep if layer.name in strides else 0
        if not beyond:
            return _copy(layer)
        if isinstance(layer, keras.layers.ZeroPadding2D):  # "same" pads instead
            return keras.layers.Identity(name=layer.name)
        config = layer.get_config()
        if isinstance(layer, _CONVOLUTIONS + _POOLS):
            config |= {"strides": (1, 1), "padding": "same"}
        if isinstance(layer, _CONVOLUTIONS):
            config["dilation_rate"] = (beyond, beyond)
        return layer.__class__.from_config(config)

    return change


def _keras(name: str) -> tuple[keras.Model, _Prepare]:
    """A model of keras.applications without its head, and what it expects of an image."""
    known = {
        made: getattr(keras.applications, make.__module__.rpartition(".")[2])
        for made, make in inspect.getmembers(keras.applications, inspect.isfunction)
    }
    asked = name.removeprefix(KERAS)
    if asked not in known:
        raise _unknown(name, KERAS, known)
    make = getattr(keras.applications, asked)
    try:
        plain = make(
            include_top=False, weights=None, input_shape=(None, None, _CHANNELS)
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"--encoder={printable(name)} cannot be built without its head for images of any "
            f"size: {printable(error, 200)}"
        ) from error
    return plain, functools.partial(_prepared, known[asked])


def _keras_cv(name: str) -> tuple[keras.Model, _Prepare]:
    """A ResNet of keras-cv; its presets' weights take images in [0, 1]."""
    asked = name.removeprefix(KERAS_CV)
    if asked not in kerascv.RESNETS:
        raise _unknown(name, KERAS_CV, kerascv.RESNETS)
    return kerascv.resnet(asked), _rgb


def _unknown(name: str, origin: str, known) -> InputError:
    near = ", ".join(origin + one for one in nearest(name.removeprefix(origin), known))
    return InputError(f"there is no --encoder={printable(name)}; nearest: {near}.")


def _rgb(images: keras.KerasTensor) -> keras.KerasTensor:
    """Grey-scale images three times beside each other."""
    if images.shape[-1] == _CHANNELS:
        return images
    join = keras.layers.Concatenate(name="preprocessing_rgb", dtype="float32")
    return join([images] * _CHANNELS)


def _prepared(module: ModuleType, images: keras.KerasTensor) -> keras.KerasTensor:
    """What the module's `preprocess_input` does to pixels from 0 to 255, for [0, 1].

    Keras tells nowhere what that is, so it is measured: of each channel alone, and of none.
    """
    x = _rgb(images)
    offset = module.preprocess_input(np.zeros((1, 1, 1, _CHANNELS)))[0, 0, 0]
    each = module.preprocess_input(255.0 * np.eye(_CHANNELS).reshape(3, 1, 1, 3))
    scale = each[:, 0, 0] - offset  # [channel in, channel out]
    if np.count_nonzero(np.diag(scale)) < _CHANNELS:
        x = ReverseChannels(name="preprocessing_bgr", dtype="float32")(x)
        scale = scale[::-1]
    rescale = keras.layers.Rescaling(
        scale=[float(value) for value in np.diag(scale)],
        offset=[float(value) for value in offset],
        name="preprocessing_scale",
        dtype="float32",
    )
    return rescale(x)
