"""U-Net, and without its skip connections a U-shaped auto-encoder."""

import keras

from tfreuse.errors import InputError
from tfreuse.models import blocks, encoders
from tfreuse.models.layers import ResizeLike
from tfreuse.specs import ModelSpec, sizes


def unet(
    image_size: tuple[int | None, int | None] = (None, None),
    channels: int = 3,
    *,
    task: str = "segmentation",
    num_classes: int = 2,
    width: int = 32,
    depth: int = 4,
    skips: bool = True,
    encoder: str = "small",
    encoder_input: str = "auto",
    block_order: str = "conv_bn_relu",
    use_bias: bool = True,
) -> keras.Model:
    """Builds the U-Net of Ronneberger et al. 2015 (arXiv:1505.04597, figure 1).

    Images [B, H, W, channels], float32 in [0, 1] -> float32 [B, H, W, K]: logits of
    `num_classes` classes (segmentation), or an image (autoencoder, linear output). H and W
    are multiples of 2**depth. All layers are core Keras's: a saved model loads without tfreuse.

    A foreign `encoder` replaces the encoder's stages and the bottleneck by its last features of
    each size. Its layers keep their names. The decoder then enlarges by bilinear resizing, so
    that images can have any size, and the last decoder stage, at the image's size, has no skip.

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
        encoder: "small", the paper's, or a foreign encoder: see `encoders.features`.
        encoder_input: the images that a foreign encoder takes: see `encoders.features`.
        block_order: "conv_bn_relu", "conv_relu_bn" or "conv_relu".
        use_bias: whether convolutions have a bias.

    Raises:
        InputError: an option or the size is impossible; the message names options that work.
    """
    spec = ModelSpec(
        architecture="unet",
        width=width,
        depth=depth,
        skips=skips,
        encoder=encoder,
        encoder_input=encoder_input,
        block_order=block_order,
        use_bias=use_bias,
    )
    if encoder == "resnet50":
        raise InputError(
            "--encoder=resnet50 is pspnet's dilated one; for unet use --encoder=keras.ResNet50."
        )
    sizes.check_sides(spec, image_size)
    filters_out = blocks.outputs(task, num_classes, channels)
    block = blocks.Block(block_order, use_bias)

    images = keras.Input((*image_size, channels), dtype="float32", name="images")
    if spec.has_foreign_encoder:
        encoded = _foreign_stages(spec, images)
    else:
        encoded = _stages(spec, images, block)
    x = encoded.pop(depth + 1)  # [B, H / 2**depth, W / 2**depth, ...]
    for stage, skip in sorted(encoded.items(), reverse=True):  # each doubles the side
        filters = width * 2 ** (stage - 1)
        if spec.has_foreign_encoder:
            x = ResizeLike(name=f"decoder_{stage}_resize")(x, skip)
        else:
            x = keras.layers.Conv2DTranspose(
                filters,
                2,
                strides=2,
                use_bias=use_bias,
                kernel_initializer="he_normal",
                name=f"decoder_{stage}_up_conv",
            )(x)
        if skips and skip is not images:
            x = keras.layers.Concatenate(name=f"decoder_{stage}_concat")([skip, x])
        x = block(x, filters, f"decoder_{stage}_a")
        x = block(x, filters, f"decoder_{stage}_b")

    x = blocks.head(x, filters_out, f"head_{task}", use_bias)
    return keras.Model(images, x, name="unet")


def _stages(
    spec: ModelSpec, images: keras.KerasTensor, block: blocks.Block
) -> dict[int, keras.KerasTensor]:
    """Returns the outputs of encoder stages 1 .. depth and of the bottleneck (depth + 1).

    Stage s has the side H / 2**(s - 1).
    """
    encoded, x = {}, images
    for stage in range(1, spec.depth + 1):
        filters = spec.width * 2 ** (stage - 1)
        x = block(x, filters, f"encoder_{stage}_a")
        x = block(x, filters, f"encoder_{stage}_b")
        encoded[stage] = x
        x = keras.layers.MaxPooling2D(name=f"encoder_{stage}_pool")(x)
    x = block(x, spec.width * 2**spec.depth, "bottleneck_a")
    return encoded | {
        spec.depth + 1: block(x, spec.width * 2**spec.depth, "bottleneck_b")
    }


def _foreign_stages(
    spec: ModelSpec, images: keras.KerasTensor
) -> dict[int, keras.KerasTensor]:
    """Returns a foreign encoder's features by stage, as `_stages`; stage 1 is the image."""
    features = encoders.features(spec.encoder, images, encoder_input=spec.convention)
    depths = [stride.bit_length() - 1 for stride in features]
    if spec.depth not in depths:
        raise InputError(
            f"--encoder={spec.encoder} has features of an image halved "
            f"{', '.join(map(str, depths))} times; got --depth={spec.depth}."
        )
    stages = {depth + 1: features[2**depth] for depth in depths if depth <= spec.depth}
    return {1: images} | stages
