"""Draws README's picture from a finished study.

  python docs/reuse.py runs/quickstart docs/reuse.svg

Each bar is the mean retention over seeds of one group of roles, moved in all layers; each dot is
one seed. A retention below 0 counts as 0, as in the verdicts.
"""

import pathlib
import sys

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

from tfreuse import records
from tfreuse.analysis import arms

PART = arms.Part("unet", "autoencoder-to-segmentation", "independent")
GROUPS = {
    "kernel": "convolution kernels",
    "bias": "convolution biases",
    "affine": "gamma and beta",
    "stats": "moving mean and variance",
    "all": "all of these",
}
PANELS = {
    "none": "straight after the move",
    "recalibration": "moving mean and variance re-estimated\non unlabelled images after the move",
}
INK, TRACK, BAR = "#1c2733", "#e6e9ee", "#2a66b0"


def draw(study_dir: str, out: str) -> None:
    """Writes the picture as SVG with outlined text, which needs no font to be shown."""
    matplotlib.rcParams.update({"svg.hashsalt": "tfreuse", "text.color": INK})
    log = records.read(pathlib.Path(study_dir) / "records.jsonl")
    part_arms = arms.by_part(log)[PART]
    figure, panels = pyplot.subplots(1, 2, sharey=True, figsize=(9.6, 3.5))
    for axes, (repair, title) in zip(panels, PANELS.items(), strict=True):
        _panel(axes, part_arms, repair)
        axes.set_title(title, fontsize=10, color=INK)
    panels[0].set_yticks(range(len(GROUPS)), GROUPS.values(), fontsize=11, color=INK)
    panels[0].text(
        0.2, len(GROUPS) - 1, "a dot: one pair of networks", fontsize=8, va="center"
    )
    figure.suptitle(
        "A segmentation network gets these parameters, in all layers, from an auto-encoder.\n"
        "How much of its accuracy (mean IoU) does it keep?",
        fontsize=12,
        fontweight="bold",
    )
    figure.subplots_adjust(0.235, 0.13, 0.99, 0.72, wspace=0.12)
    figure.savefig(out, facecolor="white", metadata={"Date": None})
    pyplot.close(figure)


def _panel(axes: pyplot.Axes, part_arms: arms.Arms, repair: str) -> None:
    for row, group in enumerate(GROUPS):
        by_seed = arms.floored_retentions(
            arms.at_all_layers(part_arms, group, repair=repair)
        )
        retentions = list(by_seed.values())
        mean = sum(retentions) / len(retentions)
        axes.barh(row, 1, 0.56, color=TRACK)
        axes.barh(row, mean, 0.56, color=BAR)
        axes.plot(retentions, [row] * len(retentions), "o", ms=5, mfc="white", mec=INK)
        axes.text(1.04, row, f"{mean:.0%}", va="center", fontsize=11)
    axes.set_xlim(-0.02, 1.17)
    axes.set_ylim(len(GROUPS) - 0.5, -0.5)
    axes.set_xticks(
        [0, 1], ["none: as good as\nignoring the image", "all: as good\nas before"]
    )
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.spines[:].set_visible(False)


if __name__ == "__main__":
    draw(*sys.argv[1:])
