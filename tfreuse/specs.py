"""Everything that can be configured, as frozen dataclasses: one default, unit and help each.

The command-line layer makes a flag of every field; the library takes the dataclasses. Equal
specs are the same experiment. Nothing here reads a flag or imports TensorFlow.
"""

import dataclasses
import re
import types
import typing
from typing import Any, Self

from tfreuse import files
from tfreuse.errors import InputError

TASKS = ("segmentation", "autoencoder")
ARCHITECTURES = ("unet", "pspnet")
BLOCK_ORDERS = ("conv_bn_relu", "conv_relu_bn", "conv_relu")
ENCODERS = ("small", "resnet50")
FORMATS = {  # of an export beside the SavedModel, with their files
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "litert_int8": "model_int8.tflite",
}
KERAS, KERAS_CV = "keras.", "keras_cv."  # what names of other encoders begin with
# What a network of a study is trained for: a task of TrainSpec, in one of its variants.
KINDS = ("segmentation", "foreground", "autoencoder", "denoising", "masked")
DIRECTIONS = ("autoencoder-to-segmentation", "segmentation-to-autoencoder")
ALL_DIRECTIONS = tuple(f"{a}-to-{b}" for a in KINDS for b in KINDS if a != b)
LINKS = ("independent", "same", "sequential")
SITES = ("layer", "stage", "prefix", "suffix", "leave_one_out", "all")
CONTROLS = (
    "self", "other_seed", "reinitialised", "initial", "defaults", "matched", "moments",
    "shuffled", "reordered", "scrambled", "zeroed",
)  # fmt: skip
RANDOM_CONTROLS = ("matched", "moments", "shuffled")  # drawn more than once
REPAIRS = (
    "none", "recalibration", "permutation", "permutation+recalibration", "stitch",
    "fine_tuning",
)  # fmt: skip
CORRUPTIONS = ("none", "noise", "mask", "scramble")
LABELS = ("all", "foreground")
AUGMENTATIONS = (
    "flip", "rotate", "zoom", "translate", "crop", "mosaic", "colour", "grid_mask",
)  # fmt: skip


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    only: str = "",
) -> Any:
    """A dataclass field with its help, its choices and its lower bound beside its default.

    `only` names the one architecture that has the option.
    """
    if only:
        help = f"{only}: {help}"
    return dataclasses.field(
        default=default,
        metadata={"help": help, "choices": choices, "low": low, "only": only},
    )


@dataclasses.dataclass(frozen=True)
class Spec:
    """Base of the specs: checks choices and bounds when made, converts to and from plain JSON."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))

    def to_json(self) -> dict[str, Any]:
        return {
            field.name: list(value)
            if isinstance(value := getattr(self, field.name), tuple)
            else value
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        known = {field.name: field.type for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputError(
                f"{cls.__name__} has no fields {unknown}; it has {sorted(known)}."
            )
        return cls(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the spec: the identity of the experiment."""
        return files.digest(self.to_json())


@dataclasses.dataclass(frozen=True)
class DataSpec(Spec):
    """Which images and masks, at which size."""

    dataset: str = option("shapes", "shapes (built in), folder, or tfds:NAME")
    data_dir: str = option("", "folder data set's root, or where TFDS keeps its data")
    image_size: tuple[int, int] = option(
        (64, 64), "height,width in pixels after resizing and cropping"
    )
    channels: int = option(
        3, "3 for RGB, 1 for grey-scale; folder: else the bands of TIFF files", low=1
    )
    num_classes: int = option(
        0, "number of classes; 0 reads it from the data set", low=0
    )
    ignore_label: int = option(
        -1, "label of pixels that count for nothing; -1: none", low=-1
    )
    train_examples: int = option(
        0, "use the first so many training images; 0: all", low=0
    )
    test_examples: int = option(0, "use the first so many test images; 0: all", low=0)
    image_key: str = option("image", "tfds: what the data set calls its images")
    mask_key: str = option(
        "segmentation_mask", "tfds: what the data set calls its masks"
    )
    label_offset: int = option(
        0, "tfds: added to every stored label but the ignored one, e.g. -1"
    )
    splits: tuple[str, ...] = option(
        (),
        "tfds: what stands for train, val and test, in TFDS's words, e.g. "
        "train=train[:80%],val=train[80%:],test=test",
    )
    palette: tuple[str, ...] = option(
        (),
        "folder: colours of masks that are pictures, RRGGBB of label 0, 1, ..., or "
        "RRGGBB=LABEL, e.g. 000000,ff0000,ffffff=255",
    )
    group_by: str = option(
        "",
        "regular expression whose match at the start of a file's name tells its subject or "
        "sequence, e.g. '[^_]+': what is chosen or divided keeps them together; none: each "
        "image for itself",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise InputError(
                f"--image_size takes height,width in pixels, e.g. 64,64; got {self.image_size}."
            )
        check_pattern("group_by", self.group_by)
        labels_of(self.palette)
        wrong = [w for w in self.splits if not re.fullmatch("(train|val|test)=.+", w)]
        if wrong:
            raise InputError(
                f"--splits takes train=..., val=... and test=...; got {wrong[0]!r}."
            )
        if self.channels not in (1, 3) and self.dataset != "folder":
            raise InputError(
                "--channels takes 1 (grey-scale) or 3 (RGB), and another number only of "
                f"--dataset=folder with TIFF files; got {self.channels}."
            )


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
            changes[name] = _parsed(value, fields[name])
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class TrainSpec(Spec):
    """How to train it."""

    task: str = option("segmentation", "what to train for", choices=TASKS)
    steps: int = option(2000, "optimizer updates in all", low=1)
    batch_size: int = option(16, "images an update", low=1)
    learning_rate: float = option(
        1e-3, "AdamW's peak rate, after warm-up and before cosine decay", low=0.0
    )
    weight_decay: float = option(
        1e-4, "AdamW's decay of kernels (not of biases, gammas, betas)", low=0.0
    )
    warmup: float = option(0.05, "share of the steps in which the rate rises", low=0.0)
    validations: int = option(
        10, "how many times to validate and write a checkpoint", low=1
    )
    seed: int = option(0, "seed of initial values and data order", low=0)
    mixed_precision: bool = option(
        False, "compute in bfloat16, keep parameters in float32"
    )
    deterministic: bool = option(False, "same bits on a GPU too, at some cost in speed")
    corruption: str = option(
        "none",
        "autoencoder: what is done to its input (scramble: to its target too)",
        choices=CORRUPTIONS,
    )
    labels: str = option(
        "all",
        "segmentation: all classes, or label 0 against all others",
        choices=LABELS,
    )
    class_weights: str = option(
        "none",
        "segmentation: balanced: pixels of rare classes count for more, by median frequency",
        choices=("none", "balanced"),
    )
    augment: tuple[str, ...] = option(
        (), "how training images are changed, their masks alike", choices=AUGMENTATIONS
    )
    initial_seed: int = option(
        -1, "seed of initial values alone; -1: the same as --seed", low=-1
    )
    initial_model: str = option(
        "",
        "model file (.keras) whose values training starts from, all but its head's; "
        "looked for from --out_dir, then from the working directory",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, only, task in (
            ("corruption", "none", "autoencoder"),
            ("labels", "all", "segmentation"),
            ("class_weights", "none", "segmentation"),
        ):
            value = getattr(self, name)
            if value != only and self.task != task:
                raise InputError(
                    f"--{name}={value} is for --task={task} alone; got --task={self.task}. "
                    f"Leave --{name} out."
                )


@dataclasses.dataclass(frozen=True)
class DeviceSpec(Spec):
    """How the training is computed; it is the same experiment, within rounding."""

    jit_compile: str = option(
        "auto",
        "compile by XLA; auto: on a GPU, not on a CPU, where it is slower",
        choices=("auto", "on", "off"),
    )
    strategy: str = option(
        "none",
        "mirrored: every batch is shared among this machine's GPUs",
        choices=("none", "mirrored"),
    )
    profile: bool = option(
        False, "trace some steps, for the profile plugin of TensorBoard"
    )


@dataclasses.dataclass(frozen=True)
class PredictSpec(Spec):
    """How large images are taken apart."""

    tile: int = option(
        1024, "pixels of a side that are looked at at once; 0: all of them", low=0
    )
    overlap: int = option(
        256, "pixels that neighbouring tiles share; half is not kept", low=0
    )


@dataclasses.dataclass(frozen=True)
class StudySpec(Spec):
    """Which arms to measure and the margins they are held against, declared before anything runs."""

    seeds: int = option(3, "how many seeds; each trains one network a task", low=2)
    architectures: tuple[str, ...] = option(
        (),
        "networks to compare, each with what differs from the other flags, e.g. "
        "unet,unet:block_order=conv_relu_bn,pspnet:width=16; none: just --architecture",
    )
    directions: tuple[str, ...] = option(
        DIRECTIONS, "donor's task to recipient's task", choices=ALL_DIRECTIONS
    )
    links: tuple[str, ...] = option(
        ("independent",),
        "initial values of donor and recipient: independent, the same, or the recipient "
        "trained on from the donor",
        choices=LINKS,
    )
    groups: tuple[str, ...] = option(
        ("kernel", "bias", "affine", "stats", "all"), "roles and groups to transplant"
    )
    sites: tuple[str, ...] = option(
        ("layer", "stage", "all"), "where to transplant", choices=SITES
    )
    controls: tuple[str, ...] = option(
        ("self", "other_seed", "reinitialised", "defaults"),
        "arms whose outcome is known or bounds the others'",
        choices=CONTROLS,
    )
    repairs: tuple[str, ...] = option(
        ("none", "recalibration"), "what is done after a transplant", choices=REPAIRS
    )
    strengths: tuple[float, ...] = option(
        (1.0,),
        "alpha of (1 - alpha) recipient + alpha donor; below 1 only without repair",
        low=0.0,
    )
    draws: int = option(3, "draws of each random control", low=1)
    shapley: bool = option(
        False, "measure all 32 unions of kernel, bias, gamma, beta and stats, by stage"
    )
    fine_tuning_steps: int = option(
        50, "optimizer updates of the repair fine_tuning", low=1
    )
    calibration_examples: int = option(
        256, "training images that re-estimate moving statistics", low=1
    )
    fold_batch_norm: bool = option(
        True,
        "evaluate with batch normalization folded into the convolutions before it: faster, "
        "equal up to float32's rounding",
    )
    margin: float = option(
        0.05, "retention that may be lost by what is called reusable", low=0.0
    )
    large: float = option(
        0.5, "retention at most kept by what is called sensitive", low=0.0
    )
    minimum: float = option(
        0.1,
        "recipient's metric above its floor, below which nothing is judged",
        low=0.0,
    )
    confidence: float = option(0.95, "confidence of the intervals", low=0.5)


def labels_of(palette: tuple[str, ...]) -> dict[int, int]:
    """The label of each colour, 0xRRGGBB, of `DataSpec.palette`.

    Raises:
        InputError: a word is no colour, or a colour is named twice.
    """
    found: dict[int, int] = {}
    for number, word in enumerate(palette):
        match = re.fullmatch(r"#?([0-9a-fA-F]{6})(?:=(\d{1,5}))?", word)
        if match is None:
            raise InputError(
                f"--palette takes RRGGBB or RRGGBB=LABEL, e.g. 000000,ff0000,ffffff=255; "
                f"got {word!r}."
            )
        colour = int(match[1], 16)
        if colour in found:
            raise InputError(f"--palette names the colour {match[1]} twice.")
        found[colour] = int(match[2]) if match[2] else number
    return found


def check_pattern(name: str, pattern: str) -> None:
    """Raises InputError unless the flag's value is a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--{name} takes a regular expression such as '[^_]+'; got "
            f"{pattern!r} ({error})."
        ) from None


def _parsed(text: str, field: dataclasses.Field) -> Any:
    """The option's value: a whole number, true or false, or the text itself."""
    try:
        if isinstance(field.default, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(field.default)(text)
    except (KeyError, ValueError):
        kind = "true or false" if isinstance(field.default, bool) else "a whole number"
        raise InputError(
            f"--architectures: {field.name} takes {kind}; got {text!r}."
        ) from None


def _check(field: dataclasses.Field, value: Any) -> None:
    """Raises InputError unless `value` fits the field's type, choices and bound."""
    kind = field.type if isinstance(field.type, type | types.GenericAlias) else Any
    wanted = typing.get_origin(kind) or kind
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        wanted = int
    if wanted is not Any and (
        not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool)
    ):
        raise InputError(f"--{field.name} takes a {wanted.__name__}; got {value!r}.")
    choices, low = field.metadata["choices"], field.metadata["low"]
    values = value if isinstance(value, tuple) else (value,)
    for one in values:
        if choices and one not in choices:
            raise InputError(
                f"--{field.name} takes one of {', '.join(choices)}; got {one!r}."
            )
        if low is not None and one < low:
            raise InputError(f"--{field.name} takes at least {low}; got {one}.")
