"""Settings of a training, and of the devices that compute it."""

import dataclasses
from typing import Any, Self

from tfreuse.errors import InputError
from tfreuse.specs.base import Spec, option

TASKS = ("segmentation", "autoencoder")
CORRUPTIONS = ("none", "noise", "mask", "inpaint", "scramble")
LABELS = ("all", "foreground")
UNLABELLED = ("train", "all")
AUGMENTATIONS = (
    "flip", "rotate", "zoom", "translate", "crop", "mosaic", "colour", "grid_mask",
)  # fmt: skip

_OF_A_TASK = (  # fields of one task alone, their defaults, and the task
    ("corruption", "none", "autoencoder"),
    ("unlabelled", "train", "autoencoder"),
    ("labels", "all", "segmentation"),
    ("class_weights", "none", "segmentation"),
)


@dataclasses.dataclass(frozen=True)
class TrainSpec(Spec):
    """A training: its task, its optimizer and its seeds."""

    task: str = option("segmentation", "task to train for", choices=TASKS)
    steps: int = option(2000, "optimizer updates in all", low=1)
    batch_size: int = option(16, "images in each update", low=1)
    learning_rate: float = option(
        1e-3,
        "peak learning rate of AdamW, between a linear warm-up and a cosine decay to 0",
        low=0.0,
    )
    weight_decay: float = option(
        1e-4,
        "AdamW's weight decay of kernels; biases, gammas and betas have none",
        low=0.0,
    )
    warmup: float = option(
        0.05, "share of the updates in which the learning rate rises, 0 to 1", low=0.0
    )
    clip_norm: float = option(
        0.1,
        "longest gradient of all parameters together; a longer one is shortened to it, so that "
        "large ones at the start do not slow Adam down for long; 0: as it is",
        low=0.0,
        before=0.0,
    )
    validations: int = option(
        10, "validations during the training; each writes a checkpoint", low=1
    )
    seed: int = option(0, "seed of initial values and of the order of images", low=0)
    mixed_precision: bool = option(
        False, "compute in bfloat16 and keep the parameters in float32"
    )
    deterministic: bool = option(
        False, "give the same bits in every run on a GPU too; slower"
    )
    corruption: str = option(
        "none",
        "autoencoder: damage to the input, to be undone; mask hides half of its patches, and inpaint "
        "too, with the hidden patches alone in loss and metrics; scramble shuffles input and target",
        choices=CORRUPTIONS,
    )
    unlabelled: str = option(
        "train",
        "autoencoder: splits whose images it learns from; all: those of val and test too, "
        "without their labels",
        choices=UNLABELLED,
        before="train",
    )
    labels: str = option(
        "all",
        "segmentation: all classes, or label 0 against all others (foreground)",
        choices=LABELS,
    )
    class_weights: str = option(
        "none",
        "segmentation: weights of the classes in the loss; balanced: by median frequency, "
        "higher for rare classes",
        choices=("none", "balanced"),
    )
    augment: tuple[str, ...] = option(
        (),
        "random changes of training images; masks move with them",
        choices=AUGMENTATIONS,
    )
    initial_seed: int = option(
        -1, "seed of the initial values only; -1: the same as --seed", low=-1
    )
    initial_model: str = option(
        "",
        "model file (.keras) to start training from; its head is not used. A relative path is "
        "looked up from --out_dir, then from the working directory",
    )

    def for_task(self, task: str, **changes: Any) -> Self:
        """Returns the settings for a task: those of the other task alone are at their defaults."""
        neutral = {
            name: value for name, value, its_task in _OF_A_TASK if its_task != task
        }
        return dataclasses.replace(self, task=task, **(neutral | changes))

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, neutral, task in _OF_A_TASK:
            value = getattr(self, name)
            if value != neutral and self.task != task:
                raise InputError(
                    f"--{name}={value} is for --task={task} alone; got --task={self.task}. "
                    f"Leave --{name} out."
                )


@dataclasses.dataclass(frozen=True)
class DeviceSpec(Spec):
    """Devices and compilation: the same experiment on any of them, up to rounding."""

    jit_compile: str = option(
        "auto",
        "compile the training step with XLA; auto: on a GPU only, since it is slower on a CPU",
        choices=("auto", "on", "off"),
    )
    strategy: str = option(
        "none",
        "none: one device; mirrored: split every batch among this machine's GPUs",
        choices=("none", "mirrored"),
    )
    profile: bool = option(
        False, "record a profile of some updates for TensorBoard's profile plugin"
    )
