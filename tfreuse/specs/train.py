"""How a network is trained, and on which devices."""

import dataclasses

from tfreuse.errors import InputError
from tfreuse.specs.base import Spec, option

TASKS = ("segmentation", "autoencoder")


CORRUPTIONS = ("none", "noise", "mask", "scramble")


LABELS = ("all", "foreground")


AUGMENTATIONS = (
    "flip", "rotate", "zoom", "translate", "crop", "mosaic", "colour", "grid_mask",
)  # fmt: skip


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
