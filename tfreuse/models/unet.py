"""U-Net, and the U-shaped auto-encoder that it is without its skip connections."""

import keras

from tfreuse.models import blocks, sizes
from tfreuse.specs import ModelSpec


def unet(
    image_size: tuple[int | None, int | None] = (None, None),
    channels: int = 3,
    *,
    task: str = "segmentation",
    num_classes: int = 2,
    width: int = 32,
    depth: int = 4,
    skips: bool = True,
    block_order: str = "conv_bn_relu",
    use_bias: bool = True,
) -> keras.Model:
    """U-Net of Ronneberger et al. 2015 (arXiv:1505.04597, figure 1).

    Images [B, H, W, channels], float32 in [0, 1] -> float32 [B, H, W, K]: logits of
    `num_classes` classes (segmentation), or an image (autoencoder, linear output). H and W
    are multiples of 2**depth. All layers are core Keras's: a saved model loads without tfreuse.

    The paper's network has width 64, depth 4, block order "conv_relu" and one channel. Where
    we differ: convolutions pad their input, so that the output is as large as the image and
    nothing is cropped; blocks have batch normalization; there is no dropout.

    Args:
        image_size: (H, W) in pixels; None leaves a side free.
        channels: channels of the images.
        task: "segmentation" or "autoencoder".
        num_classes: classes of the segmentation; an auto-encoder ignores it.
        width: filters of the first stage; each further stage has twice as many.
        depth: how many times the image is halved.
        skips: join encoder and decoder stages of equal size. With them an auto-encoder can
            copy its input past the bottleneck.
        block_order: "conv_bn_relu", "conv_relu_bn" or "conv_relu".
        use_bias: whether convolutions have a bias.

    Raises:
        InputError: an option or the size is impossible; the message says what to use.
    """
    spec = ModelSpec(
        architecture="unet",
        width=width,
        depth=depth,
        skips=skips,
        block_order=block_order,
        use_bias=use_bias,
    )
    sizes.check_image_size(spec, image_size)
    filters_out = blocks.outputs(task, num_classes, channels)
    block = blocks.Block(block_order, use_bias)

    x = images = keras.Input((*image_size, channels), dtype="float32", name="images")
    encoded = {}
    for stage in range(
        1, depth + 1
    ):  # each stage: twice the filters, then half the side
        filters = width * 2 ** (stage - 1)
        x = block(x, filters, f"encoder_{stage}_a")
        x = block(x, filters, f"encoder_{stage}_b")
        encoded[stage] = x
        x = keras.layers.MaxPooling2D(name=f"encoder_{stage}_pool")(x)

    x = block(x, width * 2**depth, "bottleneck_a")
    x = block(
        x, width * 2**depth, "bottleneck_b"
    )  # [B, H / 2**depth, W / 2**depth, ...]

    for stage in range(depth, 0, -1):  # each stage: twice the side, half the filters
        filters = width * 2 ** (stage - 1)
        x = keras.layers.Conv2DTranspose(
            filters,
            2,
            strides=2,
            use_bias=use_bias,
            kernel_initializer="he_normal",
            name=f"decoder_{stage}_up_conv",
        )(x)
        if skips:
            x = keras.layers.Concatenate(name=f"decoder_{stage}_concat")(
                [encoded[stage], x]
            )
        x = block(x, filters, f"decoder_{stage}_a")
        x = block(x, filters, f"decoder_{stage}_b")

    x = blocks.head(x, filters_out, f"head_{task}", use_bias)
    return keras.Model(images, x, name="unet")
