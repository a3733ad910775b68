"""Which arms a study measures, and the margins that its verdicts are held against."""

import dataclasses

from tfreuse.specs.base import Spec, option

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
