"""Settings of the advisor: the donors, the labels and the time for its search."""

import dataclasses

from tfreuse.specs.base import Spec, later, option
from tfreuse.specs.train import TrainSpec


@dataclasses.dataclass(frozen=True)
class AdviceSpec(Spec):
    """A question to the advisor, declared before anything runs."""

    donor: tuple[str, ...] = option(
        (), "model files (.keras) whose parameters may be reused"
    )
    recipient: str = option(
        "",
        "model file (.keras) with the recipient's structure; its values are initialised anew. "
        "Empty: the network of the model flags, or of the donor where these are not given",
    )
    unlabelled_dir: str = option(
        "",
        "folder with more images, without labels: in it, in its images, or in its train/images",
    )
    labels: int = option(
        32,
        "labelled training images to use, chosen to be as varied as possible; 0: all",
        low=0,
    )
    budget: float = option(
        18.0,
        "time for the search in minutes; the report lists what it left out",
        low=1.0,
    )
    folds: int = option(
        5, "folds of the outer cross-validation; fewer if time is short", low=3
    )
    steps: int = option(
        300, "optimizer updates of each training; fewer if time is short", low=1
    )
    batch_size: int = option(8, "images in each update", low=1)
    learning_rate: float = option(
        2e-3,
        "peak learning rate of AdamW, between a linear warm-up and a cosine decay",
        low=0.0,
    )
    clip_norm: float = later(TrainSpec, "clip_norm")
    class_weights: str = later(TrainSpec, "class_weights")
    augment: tuple[str, ...] = later(TrainSpec, "augment")
    seed: int = option(
        0, "seed of the choice of images, of the folds and of the trainings", low=0
    )
