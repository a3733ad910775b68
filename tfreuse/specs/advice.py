"""What a question to the advisor is."""

import dataclasses

from tfreuse.specs.base import Spec, option


@dataclasses.dataclass(frozen=True)
class AdviceSpec(Spec):
    """How the advisor looks for a plan, declared before anything runs."""

    donor: tuple[str, ...] = option(
        (), "model files (.keras) whose parameters may be reused"
    )
    recipient: str = option(
        "",
        "model file (.keras) of the recipient's structure, its values are drawn anew; none: "
        "the network that the model flags describe, the donor's own where they are not given",
    )
    unlabelled_dir: str = option(
        "", "folder data set whose train/images are more images, without labels"
    )
    labels: int = option(
        32, "labelled training images to use, the most varied; 0: all", low=0
    )
    budget: float = option(
        18.0, "minutes that the search may take; it says what it left out", low=1.0
    )
    folds: int = option(
        5, "folds of the outer cross-validation, fewer if time is short", low=3
    )
    steps: int = option(
        300, "optimizer updates of each training, fewer if time is short", low=1
    )
    batch_size: int = option(8, "images an update", low=1)
    learning_rate: float = option(
        2e-3, "AdamW's peak rate, after warm-up and before cosine decay", low=0.0
    )
    seed: int = option(
        0, "seed of the choice of images, of folds and of trainings", low=0
    )
