"""The networks: plain functional Keras models whose layer names are an interface.

Synopsis::

    from tfreuse import models

    model = models.unet((64, 64), num_classes=5, width=16, depth=3)
    models.stages(model)
    # {"encoder_1": ["encoder_1_a_conv", "encoder_1_a_bn", ...], ..., "head": [...]}

    spec = specs.ModelSpec(architecture="pspnet")  # or ModelSpec(model="mine.keras")
    model = models.build(spec, task="autoencoder", num_classes=0, seed=0)

Every network maps images [B, H, W, C], float32 in [0, 1], to float32 [B, H, W, K]: K classes'
logits (segmentation) or an image of C channels, linear output (autoencoder). Batch and image
size are free unless given. Kernels start from He et al. 2015 (arXiv:1502.01852), biases at 0.
"""

import functools
import inspect
from typing import Any

import keras

from tfreuse import runtime
from tfreuse.errors import InputError, printable
from tfreuse.models import custom, images
from tfreuse.models.graph import flattened, with_stages
from tfreuse.models.layers import AdaptiveAveragePool, ResizeLike
from tfreuse.models.names import stage_ends, stage_of, stages
from tfreuse.models.pspnet import AUXILIARY_LOSS_WEIGHT, pspnet, without_auxiliary
from tfreuse.models.unet import unet
from tfreuse.models.work import multiplications
from tfreuse.specs import ModelSpec, sizes
from tfreuse.specs.sizes import size_multiple

__all__ = [
    "ARCHITECTURES",
    "AUXILIARY_LOSS_WEIGHT",
    "AdaptiveAveragePool",
    "ResizeLike",
    "build",
    "check_image_size",
    "flattened",
    "images",
    "multiplications",
    "pspnet",
    "size_multiple",
    "stage_ends",
    "stage_of",
    "stages",
    "unet",
    "with_stages",
    "without_auxiliary",
]

ARCHITECTURES = {"unet": unet, "pspnet": pspnet}


def build(
    spec: ModelSpec,
    *,
    task: str,
    num_classes: int,
    channels: int = 3,
    image_size: tuple[int | None, int | None] = (None, None),
    seed: int | None = None,
) -> keras.Model:
    """Builds the network of `spec`, an architecture or a custom model, with fresh parameters.

    Args:
        spec: which network.
        task: "segmentation" or "autoencoder".
        num_classes: classes of the segmentation, at least 2; an auto-encoder ignores it.
        channels: channels of the images.
        image_size: (H, W) in pixels; None leaves a side free.
        seed: seeds Python, NumPy and Keras, and for a custom model TensorFlow, so that the same
            call gives the same bits; None draws from the generators as they stand.

    Raises:
        InputError: the spec sets an option that its architecture does not have, or the
            network cannot be built with these options or at this size; or `spec.model`
            does not map images to one vector per pixel.
    """
    options: dict[str, Any] = {}
    if spec.model:
        network = functools.partial(custom.network, spec.model)
    else:
        network = ARCHITECTURES[spec.architecture]
        options = _options(spec)
    if seed is not None:
        runtime.seed(seed, tensorflow=bool(spec.model))
    model = network(image_size, channels, task=task, num_classes=num_classes, **options)
    return with_stages(model, spec.stages)


def check_image_size(
    spec: ModelSpec, image_size: tuple[int, int], channels: int = 3
) -> None:
    """Checks that the network takes images of (H, W) pixels and returns as many.

    A custom model is built for that, since only its graph determines the size of its output.

    Raises:
        InputError: another size is needed; the message names sizes that work.
    """
    if not spec.model:
        sizes.check_sides(spec, image_size)
        return
    images.check_misfit(image_size, lambda size: _misfit(spec, size, channels))


def _misfit(spec: ModelSpec, image_size: tuple[int, int], channels: int) -> str:
    """Returns why a custom model does not fit images of a size; "" if it does. Builds it."""
    try:
        model = build(
            spec,
            task="autoencoder",
            num_classes=0,
            channels=channels,
            image_size=image_size,
        )
    except InputError as error:
        return str(error)
    output_size = tuple(model.output.shape[1:3])
    if output_size == tuple(image_size):
        return ""
    return (
        f"--model={printable(spec.model)} makes {output_size} of images of "
        f"{tuple(image_size)} pixels, {images.UNEQUAL}"
    )


def _options(spec: ModelSpec) -> dict[str, Any]:
    """Returns the arguments of the architecture's function; see `ModelSpec.check_options`."""
    spec.check_options()
    parameters = inspect.signature(ARCHITECTURES[spec.architecture]).parameters
    options = spec.to_json()
    if spec.has_foreign_encoder:
        options["encoder_input"] = spec.convention
    return {name: value for name, value in options.items() if name in parameters}
