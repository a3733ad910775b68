"""Checks that a trained model takes images of a size and returns a value of every pixel.

images.check(model, (96, 128), channels=3)  # raises InputError, names a size that works
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfreuse.errors import InputError, reason
from tfreuse.specs import sizes

# Of a model that lacks a layer which restores the size.
UNEQUAL = "and both sizes should be equal"


def check(model: keras.Model, image_size: tuple[int, int], channels: int) -> None:
    """Checks that a model maps images [B, H, W, C] to [B, H, W, K].

    Args:
        model: any model; the output "head" counts of several.
        image_size: (H, W).
        channels: C.

    Raises:
        InputError: it does not; names the flag that would work, where there is one.
    """
    if getattr(model, "inputs", None):
        *sides, expected = input_shape(model)
        check_channels_last(model, channels)
        if expected not in (None, channels):
            raise InputError(
                f"the model takes images of {expected} channel{'s' * (expected != 1)}, "
                f"got {channels}; type --channels={expected}."
            )
        if fixed := other_size(sides, image_size):
            problem = f"{_unfit(image_size)} takes one size only"
            raise InputError(f"{problem}; {_remedy(fixed)}.")
    check_misfit(
        image_size,
        lambda size: _misfit(model, size, channels),
        "choose another --image_size",
    )


def check_misfit(
    size: tuple[int, int],
    misfit: Callable[[tuple[int, int]], str],
    otherwise: str = "",
) -> None:
    """Checks that images of a size fit.

    Args:
        size: (H, W).
        misfit: returns why images of a size do not fit, "" where they do.
        otherwise: the remedy where no size is known that fits.

    Raises:
        InputError: they do not; names the first of `sizes.near` that does.
    """
    problem = misfit(size)
    if not problem:
        return
    working = next((near for near in sizes.near(size) if not misfit(near)), None)
    if working:
        otherwise = _remedy(working)
    elif UNEQUAL in problem:
        otherwise = (
            "so it is at every size that was tried: append a layer such as "
            "keras.layers.UpSampling2D or keras.layers.Resizing"
        )
    sentence = "; ".join(filter(None, (problem.rstrip("."), otherwise)))
    raise InputError(f"{sentence}.")


def input_shape(model: keras.Model) -> tuple[int | None, int | None, int | None]:
    """Returns (H, W, C) of the images that a model takes, None where it takes any.

    Raises:
        InputError: it has another number of inputs than one, or takes no [B, H, W, C].
    """
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise InputError(
            f"expected a model of one input [B, H, W, C]; its inputs have the shapes {shapes}."
        )
    return shapes[0][1:]


def other_size(
    sides: Sequence[int | None], size: Sequence[int]
) -> tuple[int, ...] | None:
    """Returns the size nearest to `size` that a model of these sides takes; None if it fits."""
    fitting = tuple(side or asked for side, asked in zip(sides, size, strict=True))
    return None if fitting == tuple(size) else fitting


def check_channels_last(model: keras.Model, channels: int) -> None:
    """Raises InputError for an input [B, C, H, W]: only its second side is a number of channels."""
    _, first, _, last = model.inputs[0].shape
    usual = (1, 3, channels)
    if first in usual and last not in usual:
        shape = ", ".join(str(side) for side in model.inputs[0].shape[1:])
        raise InputError(
            f"the model's input [B, {shape}] has the channels first, and images are "
            "[B, H, W, C]; build the model with data_format='channels_last', to which its "
            "kernels fit as they are."
        )


def _unfit(size: Sequence[int]) -> str:
    return f"the model does not fit images of {size[0]} x {size[1]} pixels: it"


def _remedy(working: Sequence[int]) -> str:
    return f"type --image_size={working[0]},{working[1]}"


def _misfit(model: keras.Model, size: tuple[int, int], channels: int) -> str:
    """Returns why the model, traced at a size, does not fit it; "" if it does."""
    network = tf.function(lambda images: model(images, training=False))
    spec = tf.TensorSpec((1, *size, channels), tf.float32)
    try:
        outputs = network.get_concrete_function(spec).structured_outputs
    except Exception as error:  # noqa: BLE001 - layers raise errors of many types
        return f"{_unfit(size)} fails there ({reason(error)})"
    output = outputs.get("head") if isinstance(outputs, dict) else outputs
    if not isinstance(output, tf.TensorSpec | tf.Tensor):
        return f"{_unfit(size)} has several outputs, none of them called 'head'"
    if output.shape.rank != 4:
        shape = tuple(output.shape)
        return f"{_unfit(size)} gives outputs of the shape {shape}, not [B, H, W, K]"
    if not output.shape[1:3].is_compatible_with(size):
        return f"{_unfit(size)} gives outputs of {tuple(output.shape[1:3])}, {UNEQUAL}"
    return ""
