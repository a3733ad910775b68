"""Settings of a study: the arms that it measures, and the thresholds of its verdicts."""

import dataclasses

from tfreuse.specs.base import Spec, option

# Kinds of networks: a task of TrainSpec, with its labels or its input changed.
KINDS = ("segmentation", "foreground", "autoencoder", "denoising", "masked")
DIRECTIONS = ("autoencoder-to-segmentation", "segmentation-to-autoencoder")
ALL_DIRECTIONS = tuple(f"{a}-to-{b}" for a in KINDS for b in KINDS if a != b)
# Of networks that exist: a donor's name, and the recipient's task.
GIVEN_DIRECTION = r"\w+-to-(segmentation|autoencoder)"
LINKS = ("independent", "same", "sequential")
SITES = ("channels", "layer", "stage", "prefix", "suffix", "leave_one_out", "all")
ORDERS = ("activation", "distance", "gamma", "random")  # in which channels move
SHARES = (0.25, 0.5, 0.75)  # of each layer's channels
CONTROLS = (  # new ones at the end: the position is part of a random control's seed
    "self", "other_seed", "reinitialised", "initial", "defaults", "matched", "moments",
    "shuffled", "reordered", "scrambled", "zeroed", "angle",
)  # fmt: skip
RANDOM_CONTROLS = (  # measured with --draws draws
    "matched", "moments", "shuffled", "angle",
)  # fmt: skip
REPAIRS = (
    "none", "recalibration", "permutation", "permutation+recalibration", "stitch",
    "fine_tuning",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class StudySpec(Spec):
    """Arms to measure and thresholds to judge them by, declared before anything runs.

    Retention is the share of the recipient's metric that a transplant leaves:
    (after - floor) / (before - floor). The floor is the metric without a look at the image: of
    one label everywhere for mean IoU, 0 for R².
    """

    seeds: int = option(
        3,
        "replicates: each trains its own networks from its own seed; the intervals are over "
        "them",
        low=1,
    )
    architectures: tuple[str, ...] = option(
        (),
        "networks to compare, each with the options in which it differs from the other flags, "
        "e.g. unet,unet:block_order=conv_relu_bn,pspnet:width=16; empty: only --architecture",
    )
    directions: tuple[str, ...] = option(
        DIRECTIONS,
        "donor's task and recipient's task, DONOR-to-RECIPIENT",
        choices=ALL_DIRECTIONS,
        also=GIVEN_DIRECTION,
    )
    links: tuple[str, ...] = option(
        ("independent",),
        "relation of donor and recipient; independent: different initial values; same: the same "
        "initial values; sequential: the recipient's training starts from the trained donor",
        choices=LINKS,
    )
    groups: tuple[str, ...] = option(
        ("kernel", "bias", "affine", "stats", "all"),
        "kinds of parameters to transplant: roles (kernel, bias, gamma, beta, moving_mean, "
        "moving_variance) or groups of them (conv, affine, stats, bn, all)",
    )
    sites: tuple[str, ...] = option(
        ("layer", "stage", "all"),
        "layers to transplant at a time: a single layer; a stage; all layers up to a stage "
        "(prefix) or from it on (suffix); all stages but one (leave_one_out); all layers; or "
        "a quarter to three quarters of the channels of each layer of a stage and of all "
        "stages, in the order of a score and in random orders (channels)",
        choices=SITES,
    )
    controls: tuple[str, ...] = option(
        ("self", "other_seed", "reinitialised", "defaults"),
        "donors with a known or bounding effect: the recipient itself (self) or with permuted "
        "channels (reordered); the same task from another seed (other_seed); fresh "
        "(reinitialised) or the recipient's own (initial) initial values; Keras's defaults, "
        "e.g. gamma 1 (defaults); random values with the donor's distance to the recipient, norm "
        "and cosine (angle), with its distance alone (matched) or with its mean and deviation "
        "(moments); the donor's values shuffled; a donor trained on scrambled images; zeros "
        "(zeroed)",
        choices=CONTROLS,
    )
    repairs: tuple[str, ...] = option(
        ("none", "recalibration"),
        "treatments after the transplant, each measured by itself; recalibration re-estimates "
        "the moving statistics; permutation reorders the donor's channels first; stitch fits a "
        "1x1 convolution behind a stage; fine_tuning trains --fine_tuning_steps updates",
        choices=REPAIRS,
    )
    strengths: tuple[float, ...] = option(
        (1.0,),
        "weights alpha of a blend, (1 - alpha) recipient + alpha donor; 1 is a full transplant "
        "and must be listed; those below 1 are measured at all layers, with the donors other_seed "
        "and reordered and every repair of statistics and order, and at single stages",
        low=0.0,
    )
    donor_updates: tuple[int, ...] = option(
        (),
        "ages of the donors: the treatment is also measured with the donor as it was after each of "
        "these numbers of updates of its training, 0 (its initial values) up to below --steps; the "
        "verdicts are on the finished donor",
        low=0,
        before=(),
    )
    draws: int = option(
        3,
        "draws of the controls angle, matched, moments and shuffled, and random orders of "
        "channels; a seed counts their mean",
        low=1,
    )
    shapley: bool = option(
        False,
        "measure all unions of kernel, bias, gamma, beta and stats, 32 for each stage, for "
        "Shapley values",
    )
    fine_tuning_steps: int = option(
        50, "optimizer updates of the repair fine_tuning", low=1
    )
    calibration_examples: int = option(
        256,
        "training images, without labels, from which moving statistics are re-estimated",
        low=1,
    )
    fit_outputs: bool = option(
        True,
        "judge auto-encoders by R2 after a gain and an offset of each output channel, fitted by "
        "least squares on up to 64 calibration images; else by R2 of outputs clipped to [0, 1]",
    )
    fold_batch_norm: bool = option(
        True,
        "evaluate with batch normalization folded into the convolution before it: faster, with "
        "metrics equal up to float32 rounding",
    )
    retrials: int = option(
        0,
        "times that a network is trained again while its validation metric, with statistics "
        "re-estimated, is less than --minimum above the floor: from the same initial values, with another order of images",
        low=0,
    )
    margin: float = option(
        0.05,
        "retention that a group may lose and still be called reusable: the whole confidence "
        "interval of its retention must be at least 1 - margin. Retention is the share of the "
        "recipient's metric, above its floor, that is left after the transplant",
        low=0.0,
    )
    large: float = option(
        0.5,
        "largest retention that counts as a large loss: a network is called very sensitive to a "
        "group if the whole confidence interval of its retention is at most this",
        low=0.0,
    )
    minimum: float = option(
        0.1,
        "least height of the recipient's metric (mean IoU or R2) above its floor; below it the "
        "network has too little to lose, and the verdict is not testable",
        low=0.0,
    )
    confidence: float = option(
        0.95,
        "confidence level of every interval and verdict, e.g. 0.95 for 95 % intervals",
        low=0.5,
    )
