"""PSPNet: a dilated ResNet, then averages of its features over the image and parts of it."""

import keras

from tfreuse.errors import InputError
from tfreuse.models import blocks, encoders
from tfreuse.models.layers import AdaptiveAveragePool, ResizeLike
from tfreuse.specs import ModelSpec, sizes

# Weight of the auxiliary output's loss: arXiv:1612.01105, section 5.2.
AUXILIARY_LOSS_WEIGHT = 0.4

_RESIDUAL_BLOCKS = {"small": (1, 1, 1, 1), "resnet50": (3, 4, 6, 3)}  # conv2 .. conv5
# ResNet's strides are (1, 2, 2, 2). Here conv4 and conv5 keep conv3's size, and dilation
# preserves their receptive fields.
_STRIDES = (1, 2, 1, 1)
_DILATIONS = (1, 1, 2, 4)
_BINS = (1, 2, 3, 6)
_DROPOUT = 0.1
_EPSILON = 1.001e-5  # of batch normalization, as in keras.applications


def pspnet(
    image_size: tuple[int | None, int | None] = (None, None),
    channels: int = 3,
    *,
    task: str = "segmentation",
    num_classes: int = 2,
    width: int = 32,
    encoder: str = "small",
    encoder_input: str = "auto",
    auxiliary: bool = False,
    block_order: str = "conv_bn_relu",
    use_bias: bool = True,
) -> keras.Model:
    """Builds the PSPNet of Zhao et al. 2017 (arXiv:1612.01105, figure 3) on a dilated ResNet.

    Images [B, H, W, channels], float32 in [0, 1] -> float32 [B, H, W, K]: logits of
    `num_classes` classes (segmentation), or an image (autoencoder, linear output). With
    `auxiliary`, {"head": [B, H, W, K], "auxiliary": [B, H, W, K]}: fit it with a dict of
    losses under the same keys, weights 1 and AUXILIARY_LOSS_WEIGHT, and labels in a dict too;
    then predict and export `without_auxiliary(model)`. Free sides take any size, since the
    output is resized to the image; sides given here are multiples of 8.

    Where we differ from the paper: ResNet-50 begins with one 7x7 convolution, not three of
    3x3, and convolutions have biases, both as in keras.applications. The encoder "resnet50"
    has the layer names, shapes and epsilons of keras.applications.ResNet50, so that its
    weights can be moved by name. Those weights expect images preprocessed by
    keras.applications.resnet.preprocess_input (BGR, 0 to 255, ImageNet's mean subtracted),
    not RGB in [0, 1].

    Args:
        image_size: (H, W) in pixels; None leaves a side free.
        channels: channels of the images.
        task: "segmentation" or "autoencoder".
        num_classes: classes of the segmentation; an auto-encoder ignores it.
        width: filters of conv1; all others scale with it. The paper's is 64.
        encoder: "small" (one residual block a stage); "resnet50", an unchanged ResNet-50:
            width 64, block order "conv_bn_relu", with biases; or a foreign encoder, dilated so
            that its features have an eighth of the image's side: see `encoders.features`.
        encoder_input: the images that a foreign encoder takes: see `encoders.features`.
        auxiliary: a second head on conv4, for training only.
        block_order: "conv_bn_relu", "conv_relu_bn" or "conv_relu".
        use_bias: whether convolutions have a bias.

    Raises:
        InputError: an option or the size is impossible; the message names options that work.
    """
    spec = ModelSpec(
        architecture="pspnet",
        width=width,
        encoder=encoder,
        encoder_input=encoder_input,
        auxiliary=auxiliary,
        block_order=block_order,
        use_bias=use_bias,
    )
    _check_resnet50(spec)
    sizes.check_sides(spec, image_size)
    filters = blocks.outputs(task, num_classes, channels)
    block = blocks.Block(block_order, use_bias, _EPSILON)

    images = keras.Input((*image_size, channels), dtype="float32", name="images")
    if spec.has_foreign_encoder:
        features = encoders.features(
            encoder, images, sizes.OUTPUT_STRIDE, spec.convention
        )
        conv4, conv5 = list(features.values())[-2:]
    else:
        conv4, conv5 = _resnet(images, block, width, _RESIDUAL_BLOCKS[encoder])
    x = _pyramid(conv5, block, 8 * width)  # [B, H / 8, W / 8, 64 width]
    x = block(x, 8 * width, "fusion_a")
    x = keras.layers.Dropout(_DROPOUT, name="fusion_dropout")(x)
    x = blocks.head(x, filters, f"head_{task}", use_bias)
    x = ResizeLike(dtype="float32", name=f"head_{task}_resize")(x, images)
    if not auxiliary:
        return keras.Model(images, x, name="pspnet")

    name = f"auxiliary_{task}"
    y = block(conv4, 4 * width, f"{name}_a")
    y = keras.layers.Dropout(_DROPOUT, name=f"{name}_dropout")(y)
    y = blocks.head(y, filters, name, use_bias)
    y = ResizeLike(dtype="float32", name=f"{name}_resize")(y, images)
    return keras.Model(images, {"head": x, "auxiliary": y}, name="pspnet")


def without_auxiliary(model: keras.Model) -> keras.Model:
    """Returns a view of the model with the main output only; `model` if it has no other."""
    if not isinstance(model.output, dict):
        return model
    return keras.Model(model.input, model.output["head"], name=model.name)


def _check_resnet50(spec: ModelSpec) -> None:
    """Raises InputError if options would change the encoder "resnet50"."""
    required = {"width": 64, "block_order": "conv_bn_relu", "use_bias": True}
    if spec.encoder != "resnet50":
        return
    for option, value in required.items():
        if getattr(spec, option) != value:
            raise InputError(
                f"--encoder=resnet50 is ResNet-50 as it is, with --{option}={value}; got "
                f"{getattr(spec, option)}. Use --{option}={value}, or --encoder=small."
            )


def _resnet(
    x: keras.KerasTensor, block: blocks.Block, width: int, counts: tuple[int, ...]
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Applies the ResNet of He et al. 2016 (arXiv:1512.03385, table 1), conv4 and 5 dilated.

    [B, H, W, C] -> conv4 [B, H / 8, W / 8, 16 width], conv5 [B, H / 8, W / 8, 32 width].
    """
    # Explicit padding layers, as in keras.applications: padding="same" at stride 2 depends on
    # the image's size and would shift the features against those of ImageNet's weights.
    x = keras.layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = block(x, width, "conv1", kernel_size=7, strides=2, padding="valid")
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    ends = []
    for i, count in enumerate(counts):
        for n in range(1, count + 1):
            x = _residual(
                x,
                block,
                width * 2**i,
                f"conv{i + 2}_block{n}",
                strides=_STRIDES[i] if n == 1 else 1,
                dilation=_DILATIONS[i],
                project=n == 1,
            )
        ends.append(x)
    return ends[2], ends[3]


def _residual(
    x: keras.KerasTensor,
    block: blocks.Block,
    filters: int,
    name: str,
    *,
    strides: int,
    dilation: int,
    project: bool,
) -> keras.KerasTensor:
    """Applies a bottleneck block: 1x1 down, 3x3, 1x1 up to 4 `filters`, plus the shortcut.

    `project` adds a convolution to the shortcut; needed where filters or size change.
    """
    wide = {"kernel_size": 1, "relu": False}
    shortcut = x
    if project:
        shortcut = block(x, 4 * filters, f"{name}_0", strides=strides, **wide)
    x = block(x, filters, f"{name}_1", kernel_size=1, strides=strides)
    x = block(x, filters, f"{name}_2", dilation_rate=dilation)
    x = block(x, 4 * filters, f"{name}_3", **wide)
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.ReLU(name=f"{name}_out")(x)


def _pyramid(
    features: keras.KerasTensor, block: blocks.Block, filters: int
) -> keras.KerasTensor:
    """Concatenates features with their averages over 1, 4, 9 and 36 regions: figure 3(c)."""
    levels = [features]
    for bins in _BINS:
        x = AdaptiveAveragePool(bins, name=f"pyramid_{bins}_pool")(features)
        x = block(x, filters, f"pyramid_{bins}", kernel_size=1)
        levels.append(ResizeLike(name=f"pyramid_{bins}_resize")(x, features))
    return keras.layers.Concatenate(name="pyramid_concat")(levels)
