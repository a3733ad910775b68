"""The networks: plain functional Keras models whose layer names are an interface.

Synopsis::

    from tfreuse import models

    model = models.unet((64, 64), num_classes=5, width=16, depth=3)
    models.stages(model)
    # {"encoder_1": ["encoder_1_a_conv", "encoder_1_a_bn", ...], ..., "head": [...]}

    spec = specs.ModelSpec(architecture="pspnet")
    model = models.build(spec, task="autoencoder", num_classes=0, seed=0)

Every network maps images [B, H, W, C], float32 in [0, 1], to float32 [B, H, W, K]: K classes'
logits (segmentation) or an image of C channels, linear output (autoencoder). Batch and image
size are free unless given. Kernels start from He et al. 2015 (arXiv:1502.01852), biases at 0.
"""

import inspect

import keras

from tfreuse.errors import InputError
from tfreuse.models.graph import give_stages
from tfreuse.models.layers import AdaptiveAveragePool, ResizeLike
from tfreuse.models.names import stage_ends, stage_of, stages
from tfreuse.models.pspnet import AUXILIARY_LOSS_WEIGHT, pspnet, without_auxiliary
from tfreuse.models.sizes import check_image_size, size_multiple
from tfreuse.models.unet import unet
from tfreuse.models.work import multiplications
from tfreuse.specs import ModelSpec

__all__ = [
    "ARCHITECTURES",
    "AUXILIARY_LOSS_WEIGHT",
    "AdaptiveAveragePool",
    "ResizeLike",
    "build",
    "check_image_size",
    "give_stages",
    "multiplications",
    "pspnet",
    "size_multiple",
    "stage_ends",
    "stage_of",
    "stages",
    "unet",
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
    """The network that `spec` describes, with fresh parameters.

    Args:
        spec: which network.
        task: "segmentation" or "autoencoder".
        num_classes: classes of the segmentation, at least 2; an auto-encoder ignores it.
        channels: channels of the images.
        image_size: (H, W) in pixels; None leaves a side free.
        seed: seeds Python, NumPy and TensorFlow, so that the same call gives the same bits;
            None draws from the generators as they stand.

    Raises:
        InputError: the spec sets an option that its architecture does not have, or the
            network cannot be built with these options or at this size, or it is none of ours
            (`tfreuse.models.networks` builds those).
    """
    if spec.model:
        raise InputError(f"{spec.model} is no architecture of tfreuse.models.")
    network = ARCHITECTURES[spec.architecture]
    known = inspect.signature(network).parameters
    options = spec.to_json()
    for name in ("architecture", "model", "stages"):  # not of the function
        del options[name]
    defaults = ModelSpec(architecture=spec.architecture)
    for name, value in options.items():
        # an option that nothing reads would make two equal networks of two specs
        if name not in known and value != getattr(defaults, name):
            raise InputError(
                f"{spec.architecture} has no --{name}; got {value}. Leave it out, which is "
                f"{getattr(defaults, name)}, or choose another --architecture."
            )
    if seed is not None:
        keras.utils.set_random_seed(seed)
    return network(
        image_size,
        channels,
        task=task,
        num_classes=num_classes,
        **{name: value for name, value in options.items() if name in known},
    )
