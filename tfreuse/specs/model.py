"""Which network."""

import dataclasses
import re
from typing import Any, Self

from tfreuse.errors import InputError
from tfreuse.specs.base import Spec, option, parsed

ARCHITECTURES = ("unet", "pspnet")


BLOCK_ORDERS = ("conv_bn_relu", "conv_relu_bn", "conv_relu")


ENCODERS = ("small", "resnet50")


KERAS, KERAS_CV = "keras.", "keras_cv."  # what names of other encoders begin with


@dataclasses.dataclass(frozen=True)
class ModelSpec(Spec):
    """Which network."""

    architecture: str = option(
        "unet", "architecture of the network", choices=ARCHITECTURES
    )
    model: str = option(
        "",
        "instead of an architecture, a network of your own: FILE.keras, whose structure is "
        "taken, with a head for the task; or package.module:function, which is called as "
        "function((H, W), channels) and gives a keras.Model",
    )
    width: int = option(32, "filters of the first stage", low=1)
    depth: int = option(4, "how many times the image is halved", low=1, only="unet")
    skips: bool = option(
        True, "connect encoder and decoder stages of equal size", only="unet"
    )
    encoder: str = option(
        "small",
        "small: the architecture's own; resnet50 (pspnet); or another's, without weights: "
        "keras.MobileNetV2 and so on of keras.applications, keras_cv.ResNet18 and so on",
    )
    auxiliary: bool = option(
        False, "auxiliary head on the fourth stage while training", only="pspnet"
    )
    block_order: str = option(
        "conv_bn_relu", "order of the layers in a block", choices=BLOCK_ORDERS
    )
    use_bias: bool = option(True, "give convolutions a bias")
    stages: tuple[str, ...] = option(
        (),
        "of --model or another's encoder: STAGE=GLOB of layer names, from input to output, e.g. "
        "stem=conv0*,body=block*; none: by the size of features",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder not in ENCODERS and not self.has_foreign_encoder:
            raise InputError(
                f"--encoder takes {', '.join(ENCODERS)}, {KERAS}NAME of keras.applications or "
                f"{KERAS_CV}NAME; got {self.encoder!r}."
            )

        for word in self.stages:
            if not re.fullmatch(r"\w+=\S+", word):
                raise InputError(
                    f"--stages takes STAGE=GLOB, e.g. stem=conv0*,body=block*; got {word!r}."
                )

    @property
    def name(self) -> str:
        """What a study calls the network: its architecture, or the file or function it is of."""
        if not self.model:
            return self.architecture
        return self.model.rpartition(":")[2].rpartition("/")[2].removesuffix(".keras")

    @property
    def has_foreign_encoder(self) -> bool:
        return self.encoder.startswith((KERAS, KERAS_CV))

    def variant(self, text: str) -> Self:
        """The network that `text` names, everything that it does not tell as here.

        Args:
            text: "pspnet", or with options: "unet:block_order=conv_relu_bn:width=16".

        Raises:
            InputError: no such architecture, option or value.
        """
        if self.model and text == self.name:
            return self
        architecture, *told = text.split(":")
        fields = {field.name: field for field in dataclasses.fields(self)}
        changes: dict[str, Any] = {"architecture": architecture, "model": ""}
        if self.model:
            changes["stages"] = ()
        for name, field in fields.items():
            if field.metadata["only"] not in ("", architecture):
                changes[name] = field.default
        for word in told:
            name, _, value = word.partition("=")
            if name not in fields or not value:
                raise InputError(
                    f"--architectures: {word!r} in {text!r} should be OPTION=VALUE with one of "
                    f"{', '.join(fields)}."
                )
            if fields[name].metadata["only"] not in ("", architecture):
                raise InputError(
                    f"--architectures: {architecture} has no option {name}; got {text!r}."
                )
            changes[name] = parsed(value, fields[name])
        return dataclasses.replace(self, **changes)
