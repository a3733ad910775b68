"""Building blocks of all networks: convolution with normalization and ReLU, and the head."""

import dataclasses

import keras

from tfreuse.errors import InputError
from tfreuse.specs import TASKS


@dataclasses.dataclass(frozen=True)
class Block:
    """Applies convolution, batch normalization and ReLU in the same order in a whole network.

    Attributes:
        order: "conv_bn_relu", "conv_relu_bn" or "conv_relu".
        use_bias: whether convolutions have a bias.
        epsilon: added to the variance by batch normalization.
    """

    order: str
    use_bias: bool
    epsilon: float = 1e-3

    def __call__(
        self,
        x: keras.KerasTensor,
        filters: int,
        name: str,
        *,
        kernel_size: int = 3,
        relu: bool = True,
        padding: str = "same",
        **conv,
    ) -> keras.KerasTensor:
        """Applies one block: [B, H, W, C] -> [B, H / strides, W / strides, filters].

        Layers are called `name`_conv, `name`_bn and `name`_relu. `relu=False` omits the ReLU,
        for a block whose output is added to a shortcut first; `conv` goes to
        keras.layers.Conv2D.
        """
        for op in self.order.split("_"):
            if op == "conv":
                x = keras.layers.Conv2D(
                    filters,
                    kernel_size,
                    padding=padding,
                    use_bias=self.use_bias,
                    kernel_initializer="he_normal",
                    name=f"{name}_conv",
                    **conv,
                )(x)
            elif op == "bn":
                x = keras.layers.BatchNormalization(
                    epsilon=self.epsilon, name=f"{name}_bn"
                )(x)
            elif relu:
                x = keras.layers.ReLU(name=f"{name}_relu")(x)
        return x


def outputs(task: str, num_classes: int, channels: int) -> int:
    """Returns the output channels of a task: one logit per class, or an image's channels.

    Raises:
        InputError: no such task, or fewer than two classes.
    """
    if task not in TASKS:
        raise InputError(f"--task takes one of {', '.join(TASKS)}; got {task!r}.")
    if task == "autoencoder":
        return channels
    if num_classes < 2:
        raise InputError(
            f"--num_classes takes at least 2 for segmentation; got {num_classes}."
        )
    return num_classes


def head(
    x: keras.KerasTensor, filters: int, name: str, use_bias: bool
) -> keras.KerasTensor:
    """Applies the final 1x1 convolution: [B, H, W, C] -> float32 [B, H, W, filters].

    float32 under every precision policy: losses and metrics need more than bfloat16's 8 bits.
    """
    return keras.layers.Conv2D(
        filters, 1, use_bias=use_bias, dtype="float32", name=f"{name}_conv"
    )(x)
