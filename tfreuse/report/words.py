"""Defines the words that a report uses."""

from collections.abc import Mapping
from typing import Any

from tfreuse import specs
from tfreuse.analysis import reasons

SITES = {
    "channels": "site: a share of the output channels of every layer of a stage, or of all layers",
    "layer": "site: a single layer",
    "stage": "site: a single stage, e.g. encoder_1 with all its layers",
    "prefix": "site: all stages from the input up to the named one",
    "suffix": "site: all stages from the named one to the output",
    "leave_one_out": "site: all stages but the named one",
    "all": "site: all layers but the heads; as a group: every role",
}
KINDS = {
    "segmentation": "kind of network: labels every pixel with one of all classes",
    "foreground": "kind of network: labels every pixel as label 0 or another",
    "autoencoder": "kind of network: gives back the image that it sees",
    "denoising": "kind of network: an auto-encoder that sees noise on the image",
    "masked": "kind of network: an auto-encoder that sees half of the image's patches",
    "pretrained": "kind of network: the encoder has its --encoder_weights, nothing was trained here",
}
LINKS = {
    "independent": "link: donor and recipient share neither initial values nor data order",
    "same": "link: donor and recipient started from the same initial values and were trained "
    "apart",
    "sequential": "link: the recipient was trained on from the donor",
}
CONTROLS = {
    "self": "control: the recipient's own values; nothing may change",
    "other_seed": "control: a donor of the recipient's own task, another network: the ceiling "
    "for any donor",
    "reinitialised": "control: fresh initial values; the loss is the value of training",
    "initial": "control: the values that the recipient's training started from",
    "defaults": "control: gamma 1, beta 0, bias 0, moving mean 0, moving variance 1",
    "angle": "random control: the donor's values turned at random about the recipient's: same "
    "distance, norm and cosine, array by array; if the donor does better, its features matter",
    "matched": "random control: the recipient's values plus a step in a random direction, as "
    "long as the donor's distance; it keeps more of the recipient than an independent donor has",
    "moments": "random control: normal values with the mean and standard deviation of each of "
    "the donor's arrays: scale without features",
    "shuffled": "random control: each of the donor's arrays with its numbers in random order",
    "reordered": "control: the recipient itself with the channels of every layer in another "
    "order: breaks as transplanted, and must be exact after permutation",
    "scrambled": "control: a donor trained on images with shuffled pixels: colours, no shapes",
    "zeroed": "control: zeros; whether the network uses the site at all",
}
REPAIRS = {
    "none": "repair: none after the transplant",
    "recalibration": "repair: moving statistics are re-estimated on the recipient's training "
    "images, without labels",
    "permutation": "repair: the donor's channels are first put in the order that fits the "
    "recipient's weights best",
    "permutation+recalibration": "repair: both",
    "stitch": "repair: recalibration, and a 1×1 convolution behind the stage that maps its "
    "output, by least squares, to the recipient's own output; the result with fresh values "
    "is its floor",
    "fine_tuning": "repair: recalibration, and a few updates of all parameters with the "
    "recipient's own labels",
}
ORDERS = {
    "activation": "order of channels: highest correlation of a channel's outputs in donor and "
    "recipient first, on half of the calibration images",
    "distance": "order of channels: kernels nearest to the recipient's first",
    "gamma": "order of channels: largest |gamma| of the donor first; without one, largest kernel",
    "random": "order of channels: at random; a seed counts the mean of its draws",
}
_FIRST = {
    "donor": "the network whose parameters are taken",
    "recipient": "the network that receives them",
    "role": "kernel, bias, gamma, beta, moving_mean or moving_variance",
    "group": "a set of roles: stats is moving_mean and moving_variance, affine is gamma and "
    "beta, bn is stats and affine, conv is kernel and bias, all is every role; a+b is the union",
    "site": "where parameters are replaced: a layer, a stage, several, or all layers",
    "arm": "one treatment of one recipient: a group, a site, a donor, a strength, a repair",
    "control": "an arm whose outcome is known, or bounds the others'",
    "draw": "a repetition of a random control or order; a seed counts the mean of its draws",
    "share": "of the output channels of each layer that are moved, from 0 to 1; first those with "
    "the highest score",
    "path, area, excess": "of an order of channels: retention at one share; its mean on the way from 0 "
    f"to {max(specs.SHARES):g}, by trapezoids; that mean minus the random orders' of the same seed",
    "strength": "α of (1 − α) recipient + α donor: 1 is a full transplant",
    "age": "number of updates of the donor's training after which it was taken; without one the "
    "donor is finished",
    "transfer": "the treatment itself: the donor of the named direction",
}
_LAST = {
    "r2": "1 − squared error / that of the mean image, of an auto-encoder's output",
    "fitted_r2": "R2 of an auto-encoder after a gain and an offset of each output channel, fitted "
    "on calibration images; the study's measure of what is retained",
    "raw R2": "R2 of an auto-encoder's output as it is, neither fitted nor clipped",
    "floor": "metric of an answer that ignores the image: the majority class, the mean image",
    "retention": "(metric after − floor) / (metric before − floor): 1 nothing is lost, 0 all; "
    "below 0 counts as 0, above 1 as 1",
    "barrier": "the most by which retention on the way from recipient to donor lies below the "
    "straight line between both ends",
    "margin": "loss of retention up to which a group is called reusable",
    "supported, refuted": "the whole interval lies on that side of the declared threshold",
    "no difference": "the interval contains 0 and lies within the margin on both sides",
    "inconclusive": "the interval contains the threshold: more seeds are needed",
    "not testable": "the study cannot answer: arms are missing, or nothing can be lost",
    "Holm's p": "p value, corrected for the number of verdicts of the study (Holm 1979)",
    "q": "p value, corrected for the number of cells of a heat map (Benjamini and Hochberg 1995)",
    "Shapley value": "a role's share of the loss: its added loss, averaged over all orders of "
    "moving the roles",
    "interaction": "loss from moving two roles together beyond the sum of moving each alone",
    "task-specific excess": "retention with a same-task donor less retention with the donor",
    "label curve": "the metric against the number of labelled images that a network learns from",
    "scratch": "training from fresh values, without a donor",
    "label saving": "how many times as many labels scratch needs for the same metric",
    "RMSE": "root mean square difference of donor's and recipient's values",
    "z_rmse": "RMSE in standard deviations from that between networks of the same task",
    "CKA": "centred kernel alignment: how alike two layers' features are, from 0 to 1",
    "scale a, offset c": "batch normalization at inference is y = a x + c for each channel: "
    "five vectors (bias, gamma, beta, moving mean and variance), two degrees of freedom",
}


def options(train: Mapping[str, Any]) -> str:
    """Returns a training's options that are not at their defaults, each after a comma."""
    text = ""
    if train.get("augment"):
        text += f", random changes of the images ({', '.join(train['augment'])})"
    if train.get("clip_norm"):
        text += f", gradients clipped to a global norm of {train['clip_norm']:g}"
    if train.get("class_weights", "none") != "none":
        text += f", classes weighted ({train['class_weights']}) in segmentation"
    return text


def _once(*tables: dict[str, str]) -> dict[str, str]:
    """Joins the tables; a word in several of them gets all its meanings."""
    meanings: dict[str, str] = {}
    for table in tables:
        for word, meaning in table.items():
            earlier = f"{meanings[word]}; " if word in meanings else ""
            meanings[word] = f"{earlier}{meaning}"
    return meanings


_REASONS = {
    name: f"reason: {meaning[0].lower()}{meaning[1:].rstrip('.')}"
    for name, meaning in reasons.REASONS.items()
}
WORDS = tuple(
    _once(
        _FIRST, SITES, KINDS, LINKS, CONTROLS, REPAIRS, ORDERS, _REASONS, _LAST
    ).items()
)


def missing() -> set[str]:
    """Returns names of the study's settings that lack a definition here."""
    names = (
        *specs.SITES, *specs.KINDS, *specs.LINKS, *specs.CONTROLS, *specs.REPAIRS,
        *specs.ORDERS,
    )  # fmt: skip
    return set(names) - {word for word, _ in WORDS}
