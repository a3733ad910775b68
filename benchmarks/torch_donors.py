"""Moves weights of PyTorch's networks into Keras's, and compares what both compute.

    rows = torch_donors.run(["torchvision.resnet50"], folder)

Weights are drawn, so that nothing is downloaded, and statistics are those of random images. Two images go through
the PyTorch network, the Keras network, and the Keras network with PyTorch's paddings and strides
(`as_pytorch`): the last must give equal outputs, or layers are paired wrongly.

Needs torch, torchvision, timm and segmentation-models-pytorch, of which missing ones leave pairs out.
"""

import dataclasses
import gc
import importlib.metadata
import importlib.util
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfreuse import models, transplant
from tfreuse.errors import InputError, nearest, printable
from tfreuse.specs import ModelSpec

_PACKAGES = (
    *("torch", "torchvision", "timm", "segmentation-models-pytorch"),
    *("keras", "keras-cv", "tensorflow"),
)
_HEAD = (
    *("donor", "recipient", "adapters", "arrays", "largest output"),
    *("difference", "with PyTorch's paddings and strides"),
)
_LIBRARIES = {"smp": "segmentation_models_pytorch"}
_EPSILON = (
    "*=epsilon:1e-5",
)  # where the Keras network has another than PyTorch's default
_RESNET = ("*_conv=zero", *_EPSILON)


@dataclasses.dataclass(frozen=True)
class Case:
    """A PyTorch network, the Keras network for its weights, and the options of the plan.

    Attributes:
        donor: "torchvision.NAME", "timm.NAME", or "smp.ENCODER" for the encoder of a Unet.
        recipient: "NAME" in keras.applications, or "unet ENCODER" for tfreuse's UNet.
        adapters, allow_unused: of the plan.
        neutral: whether factors of normalizations are 1, for a recipient that has none.
    """

    donor: str
    recipient: str
    adapters: tuple[str, ...] = ()
    allow_unused: tuple[str, ...] = ()
    neutral: bool = False


def _cases() -> tuple[Case, ...]:
    tv, timm = "torchvision.", "timm."
    unet = ("decoder.*", "segmentation_head.*")
    return (
        *(Case(f"{tv}resnet{n}", f"ResNet{n}", _RESNET) for n in (50, 101, 152)),
        Case(f"{timm}resnet50", "ResNet50", _RESNET),
        *(Case(f"{tv}vgg{n}", f"VGG{n}", ("fc1=flatten:512",)) for n in (16, 19)),
        *(
            Case(f"{tv}densenet{n}", f"DenseNet{n}", _EPSILON)
            for n in (121, 169, 201)
        ),
        Case(f"{timm}densenet121", "DenseNet121", _EPSILON),
        Case(f"{timm}mobilenetv1_100", "MobileNet", _EPSILON),
        Case(f"{tv}mobilenet_v2", "MobileNetV2", _EPSILON),
        Case(f"{timm}mobilenetv2_100", "MobileNetV2", _EPSILON),
        Case(f"{tv}mobilenet_v3_small", "MobileNetV3Small"),
        Case(f"{tv}mobilenet_v3_large", "MobileNetV3Large"),
        Case(f"{timm}mobilenetv3_small_100", "MobileNetV3Small", _EPSILON),
        Case(f"{timm}mobilenetv3_large_100", "MobileNetV3Large", _EPSILON),
        *(Case(f"{tv}efficientnet_b{n}", f"EfficientNetB{n}", _EPSILON) for n in range(3)),
        Case(f"{timm}efficientnet_b0", "EfficientNetB0", _EPSILON),
        Case(f"{timm}tf_efficientnet_b0", "EfficientNetB0"),
        Case(f"{tv}efficientnet_v2_s", "EfficientNetV2S"),
        Case(f"{timm}tf_efficientnetv2_s", "EfficientNetV2S"),
        Case(f"{timm}tf_efficientnetv2_b0", "EfficientNetV2B0"),
        Case(f"{tv}inception_v3", "InceptionV3", (), ("AuxLogits*",), True),
        Case(f"{timm}inception_v3", "InceptionV3", (), (), True),
        Case(f"{timm}inception_resnet_v2", "InceptionResNetV2", (), (), True),
        Case(f"{timm}legacy_xception", "Xception", _EPSILON),
        Case(f"{timm}resnetv2_50", "ResNet50V2", _RESNET),
        Case(f"{tv}convnext_tiny", "ConvNeXtTiny"),
        Case(f"{timm}convnext_tiny", "ConvNeXtTiny"),
        Case(f"{timm}tf_efficientnet_lite0", "unet keras_cv.EfficientNetLiteB0", (), ("classifier",)),
        *(
            Case(f"smp.resnet{n}", f"unet keras_cv.ResNet{n}", _EPSILON, unet)
            for n in (18, 34, 50)
        ),
        Case("smp.resnet50", "unet keras.ResNet50", _RESNET, unet),
        Case("smp.mobilenet_v2", "unet keras.MobileNetV2", _EPSILON, unet),
        Case("smp.vgg16", "unet keras.VGG16", (), unet),
    )  # fmt: skip


CASES = _cases()


def run(donors: Sequence[str], folder: pathlib.Path) -> list[dict[str, Any]]:
    """Compares the cases of these donors, by default of all; returns a row each, and prints it.

    Raises:
        InputError: a donor is not known, or none of the donors' libraries is installed.
    """
    known = list(dict.fromkeys(case.donor for case in CASES))
    for donor in donors:
        if donor not in known:
            near = ", ".join(nearest(donor, known))
            raise InputError(
                f"--donors={printable(donor)} is not known; nearest: {near}."
            )
    donors = [donor for donor in donors or known if _installed(donor)]
    if not _has("torch") or not donors:
        raise InputError(
            "torch_donors needs PyTorch and the donors' libraries: pip install torch torchvision "
            "timm segmentation-models-pytorch"
        )
    rows = []
    for case in CASES:
        if case.donor in donors:
            row = compare(case, folder)
            rows.append(row)
            print(_line(row), flush=True)
            keras.backend.clear_session()
            gc.collect()
    return rows


def compare(case: Case, folder: pathlib.Path) -> dict[str, Any]:
    """Moves the weights of one network and compares outputs.

    Returns:
        names and options; "largest", the largest output of the PyTorch network; and the largest
        differences "as it is" and "as PyTorch".

    Raises:
        InputError: a layer has no counterpart.
    """
    import torch

    model = _keras_network(case.recipient)
    size = model.input_shape[1] or 224
    network = _drawn(_torch_network(case.donor), case.neutral, size)
    path = folder / "weights.pth"
    torch.save(network.state_dict(), path)
    options = {"adapters": case.adapters, "allow_unused": case.allow_unused}
    if case.recipient.startswith("unet"):
        options["layers"] = ("!decoder_*", "!head_*")
    plan = transplant.plan(path, model, **options)
    transplant.apply(plan.check(), path, model)
    images = np.random.default_rng(0).uniform(0, 1, (2, size, size, 3)).astype("f4")
    before, _ = ends(model)
    if any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers[:3]):
        images *= 1 if case.recipient.startswith("unet") else 255
    with torch.no_grad():
        inputs = torch.tensor(np.asarray(before(images))).permute(0, 3, 1, 2)
        expected = _features(network, case.donor)(inputs)
    if expected.ndim == 4:
        expected = expected.permute(0, 2, 3, 1)
    row: dict[str, Any] = {
        "donor": case.donor,
        "recipient": case.recipient,
        "adapters": ",".join(case.adapters),
        "moved": len(plan.copies),
        "largest": float(expected.abs().max()),
    }
    for name, compared in (("as it is", model), ("as PyTorch", as_pytorch(model))):
        _, output = ends(compared)
        actual = output.predict(images, verbose=0)
        row[name] = float(np.abs(actual - expected.numpy()).max())
    return row


def as_pytorch(model: keras.Model) -> keras.Model:
    """Copies a model, padded as PyTorch pads, with the strides of its ResNets.

    Keras pads at the end of strided images more than at the start, and its bottlenecks stride in
    the first convolution of 1 x 1, torchvision's in the one of 3 x 3. Keras's version 2 strides
    in the last block of a stage, timm's in the first of the next. No shape differs.
    """
    strides = _of_version_2(model)
    zeros = {layer.name for layer in model.layers} & {"pool1_pad"}
    strided = {
        layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
        and layer.name.endswith("_1_conv")
        and layer.kernel_size == (1, 1)
        and layer.strides == (2, 2)
    }

    def copied(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        kind = type(layer)
        if layer.name in strided:
            return kind.from_config(config | {"strides": (1, 1)})
        if isinstance(layer, keras.layers.ZeroPadding2D):
            sides = 0 if layer.name in zeros else max(map(max, config["padding"]))
            return kind.from_config(config | {"padding": sides})
        if layer.name in strides:
            return kind.from_config(config | {"strides": strides[layer.name]})
        if zeros and layer.name == "pool1_pool":
            return _padded(kind).from_config(config)
        bottleneck = re.sub("_2_conv$", "_1_conv", layer.name)
        if bottleneck in strided and bottleneck != layer.name:
            config["strides"] = (2, 2)
        window = config.get("kernel_size") or config.get("pool_size") or (1,)
        average = isinstance(layer, keras.layers.AveragePooling2D)
        same = config.get("padding") == "same" and max(window) > 1
        if same and (average or max(config["strides"]) > 1):
            return _padded(kind).from_config(config | {"padding": "valid"})
        return kind.from_config(config)

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


def _of_version_2(model: keras.Model) -> dict[str, tuple[int, int]]:
    """Returns the strides of timm's ResNets of version 2 by name; {} for another network."""
    strides = {}
    for layer in model.layers:
        last = re.fullmatch(r"conv(\d+)_block\d+_2_conv", layer.name)
        if last and layer.strides == (2, 2):
            first = f"conv{int(last[1]) + 1}_block1"
            strides |= {layer.name: (1, 1), f"{first}_2_conv": (2, 2)}
            strides |= {f"{first}_0_conv": (2, 2)}
    for layer in model.layers:
        if isinstance(layer, keras.layers.MaxPooling2D) and layer.pool_size == (1, 1):
            strides[layer.name] = (1, 1)
    return strides


def _padded(kind: type[keras.Layer]) -> type[keras.Layer]:
    """Returns a class of layers that pads both sides alike before it does what `kind` does."""

    class Padded(kind):
        def call(self, images):
            window = getattr(self, "kernel_size", None) or self.pool_size
            maximum = isinstance(self, keras.layers.MaxPooling2D)
            sides = [(0, 0), *((side // 2, side // 2) for side in window), (0, 0)]
            value = float("-inf") if maximum else 0
            return super().call(keras.ops.pad(images, sides, constant_values=value))

        def compute_output_shape(self, shape):
            window = getattr(self, "kernel_size", None) or self.pool_size
            sides = [
                s and s + 2 * (w // 2) for s, w in zip(shape[1:3], window, strict=True)
            ]
            return super().compute_output_shape((shape[0], *sides, shape[3]))

    return Padded


def ends(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Returns models of what reaches the first convolution, and of the outputs to compare.

    The outputs of a UNet to compare are the features of its encoder.
    """
    kinds = keras.layers.Conv2D, keras.Sequential  # of a stem
    first = next(layer for layer in model.layers if isinstance(layer, kinds))
    before = first._inbound_nodes[0].input_tensors[0]
    while isinstance(before._keras_history.operation, keras.layers.ZeroPadding2D):
        before = before._keras_history.operation.input
    output = model.output
    for layer in model.layers:
        if layer.name.startswith("decoder_") and layer.name.endswith("_resize"):
            output, _ = layer.input
            break
    return keras.Model(model.input, before), keras.Model(model.input, output)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the table with the versions that it was measured with."""
    versions = ", ".join(
        f"{p} {importlib.metadata.version(p)}" for p in _PACKAGES if _has(p)
    )
    lines = [
        f"| {' | '.join(_HEAD)} |",
        "|---|---|---|--:|--:|--:|--:|",
        *map(_line, rows),
    ]
    return "\n".join([*lines, "", f"Measured with {versions}.", ""])


def _has(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def _installed(donor: str) -> bool:
    library = donor.partition(".")[0]
    return importlib.util.find_spec(_LIBRARIES.get(library, library)) is not None


def _torch_network(donor: str) -> Any:
    library, _, name = donor.partition(".")
    if library == "torchvision":
        import torchvision

        options = {"init_weights": False} if name == "inception_v3" else {}
        return getattr(torchvision.models, name)(weights=None, **options)
    if library == "timm":
        import timm

        return timm.create_model(name, pretrained=False)
    import segmentation_models_pytorch

    return segmentation_models_pytorch.Unet(name, encoder_weights=None, classes=3)


def _drawn(network: Any, neutral: bool, size: int) -> Any:
    """Draws all parameters, takes statistics from random images, and ends training mode.

    Fresh networks hardly depend on their images, and would hide layers that were exchanged.
    """
    import torch

    torch.manual_seed(0)
    norms = [module for module in network.modules() if hasattr(module, "running_var")]
    factors = {id(module.weight) for module in norms}
    with torch.no_grad():
        for name, value in network.named_parameters():
            last = name.rpartition(".")[2]
            if value.numel() > max(value.shape):  # a kernel
                value.normal_(0, (2 / value[0].numel()) ** 0.5)
            elif neutral and id(value) in factors:
                value.fill_(1)
            else:
                value.normal_(1.0 * (last in ("weight", "gamma", "layer_scale")), 0.2)
        for module in norms:
            module.momentum = 1
        network.train()(torch.rand(4, 3, size, size))
    return network.eval()


def _keras_network(recipient: str) -> keras.Model:
    kind, _, encoder = recipient.partition(" ")
    if kind == "unet":
        spec = ModelSpec(encoder=encoder, width=2, depth=5)
        return models.build(spec, task="segmentation", num_classes=3, seed=0)
    options = {"weights": None, "classifier_activation": None}
    if kind.startswith(("MobileNetV3", "EfficientNetV2", "ConvNeXt")):
        options["include_preprocessing"] = False
    return getattr(keras.applications, kind)(**options)


def _features(network: Any, donor: str) -> Callable:
    if donor.startswith("smp."):
        return lambda images: network.encoder(images)[-1]
    if donor == "timm.tf_efficientnet_lite0":
        return network.forward_features
    return network


def _line(row: dict[str, Any]) -> str:
    cells = [row[name] for name in ("donor", "recipient", "adapters", "moved")]
    cells += [f"{row[name]:.2g}" for name in ("largest", "as it is", "as PyTorch")]
    return f"| {' | '.join(map(str, cells))} |"
