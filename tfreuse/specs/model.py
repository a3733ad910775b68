"""Settings of a network."""

import dataclasses
import re
from typing import Any, Self

from tfreuse.errors import InputError, printable
from tfreuse.specs import encoders
from tfreuse.specs.base import Spec, changes, option
from tfreuse.specs.encoders import KERAS, KERAS_CV

ARCHITECTURES = ("unet", "pspnet")
BLOCK_ORDERS = ("conv_bn_relu", "conv_relu_bn", "conv_relu")
ENCODERS = ("small", "resnet50")
# Images that encoders take.
INPUTS = ("library", "imagenet", "signed", "unit")
_FROM_PYTORCH = (".pt", ".pth", ".bin", ".safetensors", ".onnx")
# An encoder whose weights take -1 to 1 in PyTorch too.
_OF_TENSORFLOW = f"{KERAS_CV}EfficientNetLite"


@dataclasses.dataclass(frozen=True)
class ModelSpec(Spec):
    """A network: a built-in architecture with its options, or a network of the user's own."""

    architecture: str = option(
        "unet", "architecture of the network", choices=ARCHITECTURES
    )
    model: str = option(
        "",
        "a network of your own instead of --architecture: FILE.keras, whose structure is used "
        "with a head for the task; or package.module:function, called as "
        "function((H, W), channels), which returns a keras.Model",
    )
    width: int = option(32, "filters of the first stage", low=1)
    depth: int = option(
        4, "number of times that the image is halved", low=1, only="unet"
    )
    skips: bool = option(
        True, "connect encoder and decoder stages of equal size", only="unet"
    )
    encoder: str = option(
        "small",
        "small: the architecture's own; resnet50 (pspnet only); or an encoder of another "
        "library, without its weights: keras.NAME of keras.applications, e.g. "
        "keras.MobileNetV2, or keras_cv.NAME, e.g. keras_cv.ResNet18",
    )
    encoder_weights: str = option(
        "",
        "pre-trained weights of the encoder, which a training starts from: a file of any format "
        "that tools/transplant.py reads (.keras, .h5, .pth, .safetensors, .onnx, hf://ORG/NAME), "
        "or pretrained:efficientnet_lite0 of the extra [pretrained]",
    )
    encoder_input: str = option(
        "auto",
        "images that the encoder's weights take, made of images in 0 to 1 by the network itself: "
        "library: as its library does; imagenet: less ImageNet's mean, over its standard "
        "deviation (torchvision, timm); signed: -1 to 1; unit: 0 to 1; auto: imagenet for weights "
        "from PyTorch, else library",
        choices=("auto", *INPUTS),
    )
    auxiliary: bool = option(
        False, "train with an auxiliary head on the fourth stage", only="pspnet"
    )
    block_order: str = option(
        "conv_bn_relu", "order of the layers in a block", choices=BLOCK_ORDERS
    )
    use_bias: bool = option(True, "give the convolutions biases")
    stages: tuple[str, ...] = option(
        (),
        "stages of --model or of another library's encoder: STAGE=GLOB of layer names, from "
        "input to output, e.g. stem=conv0*,body=block*; empty: a stage for each size of "
        "feature maps",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder not in ENCODERS and not self.has_foreign_encoder:
            raise InputError(
                f"--encoder takes {', '.join(ENCODERS)}, {KERAS}NAME of keras.applications or "
                f"{KERAS_CV}NAME; got {self.encoder!r}."
            )
        self._check_encoder_flags()
        if self.model and not re.fullmatch(r".*\.keras|[^:]+:[^:]+", self.model):
            raise InputError(
                "--model takes FILE.keras or package.module:function; got "
                f"{printable(self.model)!r}."
            )
        for word in self.stages:
            if not re.fullmatch(r"\w+=\S+", word):
                raise InputError(
                    f"--stages takes STAGE=GLOB, e.g. stem=conv0*,body=block*; got {word!r}."
                )

    @property
    def name(self) -> str:
        """The network's name in a study: its architecture, or its file or function."""
        if not self.model:
            return self.architecture
        return self.model.rpartition(":")[2].rpartition("/")[2].removesuffix(".keras")

    def _check_encoder_flags(self) -> None:
        flags = "encoder_weights", "encoder_input"
        fields = {field.name: field for field in dataclasses.fields(self)}
        changed = [n for n in flags if getattr(self, n) != fields[n].default]
        if changed and (self.model or not self.has_foreign_encoder):
            raise InputError(
                f"--{changed[0]} is for an encoder of a library: give, for example, "
                f"--encoder=keras.MobileNetV2, or leave --{changed[0]} out."
            )

    @property
    def has_foreign_encoder(self) -> bool:
        return self.encoder.startswith((KERAS, KERAS_CV))

    @property
    def convention(self) -> str:
        """The images that the encoder takes, one of INPUTS: `encoder_input`, decided."""
        if self.encoder_input != "auto":
            return self.encoder_input
        of_tensorflow = self.encoder.startswith(_OF_TENSORFLOW)
        return "imagenet" if self.pytorch_weights and not of_tensorflow else "library"

    @property
    def pytorch_weights(self) -> bool:
        """Returns whether the encoder's weights are PyTorch's, by their name."""
        return self.encoder_weights.startswith(("hf://", "pretrained:")) or (
            self.encoder_weights.endswith(_FROM_PYTORCH)
        )

    def check_options(self) -> None:
        """Raises InputError for an unknown encoder, or an option that the architecture lacks.

        If it were ignored, two specs would describe equal networks.
        """
        encoders.check(self.encoder)
        for field in dataclasses.fields(self):
            value, only = getattr(self, field.name), field.metadata["only"]
            if value != field.default and only not in ("", self.architecture):
                raise InputError(
                    f"{self.architecture} has no --{field.name}; got {value}. Leave it out, which "
                    f"is {field.default}, or choose another --architecture."
                )

    @property
    def is_foreign(self) -> bool:
        """Returns whether the network, or its encoder, is not this package's."""
        return bool(self.model) or self.has_foreign_encoder

    def variant(self, text: str) -> Self:
        """Returns the network of an item of --architectures; other options are as here.

        Args:
            text: "pspnet", or with options: "unet:block_order=conv_relu_bn:width=16".

        Raises:
            InputError: no such architecture, option or value.
        """
        if self.model and text == self.name:
            return self
        architecture, *options = text.split(":")
        values: dict[str, Any] = {"architecture": architecture, "model": ""}
        if self.model:
            values["stages"] = ()
        for field in dataclasses.fields(self):
            if field.metadata["only"] not in ("", architecture):
                values[field.name] = field.default
        values |= changes("architectures", options, self.options(architecture))
        return dataclasses.replace(self, **values)

    @classmethod
    def options(cls, architecture: str) -> list[dataclasses.Field]:
        """Lists the fields that a built-in architecture has."""
        return [
            field
            for field in dataclasses.fields(cls)
            if field.metadata["only"] in ("", architecture)
            and field.name not in ("architecture", "model")
        ]
