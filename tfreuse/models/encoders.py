"""Foreign encoders with fresh parameters: models of keras.applications, backbones of keras-cv.

    features = encoders.features("keras.MobileNetV2", images)          # images in [0, 1]
    # {2: [B, H/2, W/2, 96], 4: [B, H/4, W/4, 144], ..., 32: [B, H/32, W/32, 1280]}
    features = encoders.features("keras.ResNet50", images, max_stride=8)  # none below H/8

Layers keep their names, so that pre-trained weights can be transplanted into them; names that Keras
makes up (all of InceptionV3's) are as in a new process. The preprocessing that such weights expect
(-1 to 1, BGR minus ImageNet's mean, or the convention of PyTorch's weights) is built in as layers in
front.
"""

import functools
from collections.abc import Callable
from types import ModuleType

import keras
import numpy as np

from tfreuse import kerascv
from tfreuse.errors import InputError, printable, reason
from tfreuse.models import graph, made_up_names
from tfreuse.models.layers import ReverseChannels
from tfreuse.specs import KERAS, KERAS_CV
from tfreuse.specs import encoders as encoder_names

_CHANNELS = 3  # of the images that pre-trained weights take
_CONVOLUTIONS = (
    keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D,
)  # fmt: skip
_POOLS = keras.layers.MaxPooling2D, keras.layers.AveragePooling2D

_IMAGENET_MEAN = 0.485, 0.456, 0.406  # RGB, of torchvision's and most of timm's weights
_IMAGENET_SD = 0.229, 0.224, 0.225

_Prepare = Callable[[keras.KerasTensor], keras.KerasTensor]


def features(
    name: str,
    images: keras.KerasTensor,
    max_stride: int = 0,
    encoder_input: str = "library",
) -> dict[int, keras.KerasTensor]:
    """Applies an encoder with fresh parameters and returns the last features of each size.

    Args:
        name: "keras.NAME", a model of keras.applications, or "keras_cv.ResNet18" and so on.
        images: [B, H, W, C] in [0, 1], C 1 or 3; grey-scale images are repeated to RGB.
        max_stride: stride beyond which layers keep the size of their input, convolutions being
            dilated instead of strided, as in PSPNet (arXiv:1612.01105, section 3.2). At the
            positions that striding would have kept, the features are unchanged where no
            pooling is involved; pooling is not dilated. 0: no limit.
        encoder_input: the images that the encoder takes, see `ModelSpec.encoder_input`: "imagenet",
            "signed" or "unit"; "library": those that its library's weights take.

    Returns:
        Features by the stride of the original encoder: [B, H / stride, W / stride, C], or
        [B, H / max_stride, W / max_stride, C] beyond the limit.

    Raises:
        InputError: there is no such encoder, or it cannot be built for these images.
    """
    encoder_names.check(name)
    build = _keras if name.startswith(KERAS) else _keras_cv
    original, prepare = made_up_names.counted_anew(lambda: build(name))
    prepare = _CONVENTIONS.get(encoder_input, prepare)
    if images.shape[-1] not in (1, _CHANNELS):
        raise InputError(
            f"--encoder={printable(name)} takes images of 1 or {_CHANNELS} channels; "
            f"got {images.shape[-1]}."
        )
    try:
        strides = graph.strides(original)
        copy_layer = _dilating(strides, max_stride) if max_stride else _copy
        encoder = graph.copied(original, images, prepare(images), copy_layer)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"--encoder={printable(name)} cannot be built for images of {images.shape[1:]}: "
            f"{reason(error)}"
        ) from error
    ends = {  # later layers of the same stride replace earlier ones
        strides[layer.name].output: layer.name
        for layer in original.layers
        if layer.name in strides and not isinstance(layer, keras.layers.ZeroPadding2D)
    }
    return {
        stride: encoder.get_layer(end).output
        for stride, end in sorted(ends.items())
        if stride > 1
    }


def _copy(layer: keras.Layer) -> keras.Layer:
    return layer.__class__.from_config(layer.get_config())


def _dilating(
    strides: dict[str, graph.Strides], max_stride: int
) -> Callable[[keras.Layer], keras.Layer]:
    """Returns a function that copies layers, with dilation for stride beyond `max_stride`.

    A layer whose original input has stride s now sees features that are s / max_stride times
    as dense: that ratio is its dilation.
    """

    def copy(layer: keras.Layer) -> keras.Layer:
        dilation = 0
        if layer.name in strides:
            dilation = strides[layer.name].input // max_stride
        if not dilation:
            return _copy(layer)
        if isinstance(layer, keras.layers.ZeroPadding2D):  # padding="same" replaces it
            return keras.layers.Identity(name=layer.name)
        config = layer.get_config()
        if isinstance(layer, _CONVOLUTIONS + _POOLS):
            config |= {"strides": (1, 1), "padding": "same"}
        if isinstance(layer, _CONVOLUTIONS):
            config["dilation_rate"] = (dilation, dilation)
        return layer.__class__.from_config(config)

    return copy


def _keras(name: str) -> tuple[keras.Model, _Prepare]:
    """Builds a model of keras.applications without its head, with its preprocessing."""
    make = getattr(keras.applications, name.removeprefix(KERAS))
    module = getattr(keras.applications, make.__module__.rpartition(".")[2])
    try:
        original = make(
            include_top=False, weights=None, input_shape=(None, None, _CHANNELS)
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"--encoder={printable(name)} cannot be built without its head for images of any "
            f"size: {reason(error)}"
        ) from error
    return original, functools.partial(_prepared, module)


def _keras_cv(name: str) -> tuple[keras.Model, _Prepare]:
    """Builds a backbone of keras-cv, with the preprocessing that pre-trained weights expect."""
    architecture = name.removeprefix(KERAS_CV)
    prepare = _rgb if architecture.startswith("ResNet") else _signed
    return kerascv.backbone(architecture), prepare


def _rgb(images: keras.KerasTensor) -> keras.KerasTensor:
    """Repeats the channel of grey-scale images three times."""
    if images.shape[-1] == _CHANNELS:
        return images
    join = keras.layers.Concatenate(name="preprocessing_rgb", dtype="float32")
    return join([images] * _CHANNELS)


def _signed(images: keras.KerasTensor) -> keras.KerasTensor:
    """Maps images from [0, 1] to [-1, 1]."""
    rescale = keras.layers.Rescaling(
        2.0, offset=-1.0, name="preprocessing_scale", dtype="float32"
    )
    return rescale(_rgb(images))


def _standardised(images: keras.KerasTensor) -> keras.KerasTensor:
    """Subtracts ImageNet's mean and divides by its standard deviation, channel by channel."""
    rescale = keras.layers.Rescaling(
        scale=[1 / sd for sd in _IMAGENET_SD],
        offset=[-m / sd for m, sd in zip(_IMAGENET_MEAN, _IMAGENET_SD, strict=True)],
        name="preprocessing_scale",
        dtype="float32",
    )
    return rescale(_rgb(images))


_CONVENTIONS = {"imagenet": _standardised, "signed": _signed, "unit": _rgb}


def _prepared(module: ModuleType, images: keras.KerasTensor) -> keras.KerasTensor:
    """Applies the module's `preprocess_input`, which takes 0 to 255, to images in [0, 1].

    It is an affine map of each channel, perhaps with reversed channels. Keras exposes neither
    scale nor offset, so both are measured: on a black pixel, and on one pixel of each pure
    primary colour.
    """
    x = _rgb(images)
    offset = module.preprocess_input(np.zeros((1, 1, 1, _CHANNELS)))[0, 0, 0]
    primaries = module.preprocess_input(255.0 * np.eye(_CHANNELS).reshape(3, 1, 1, 3))
    scale = primaries[:, 0, 0] - offset  # [channel in, channel out]
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
