"""Lists a report's figures: for each its section, the rows it is drawn from, and its caption.

Each entry also names the settings that the figure needs, so that a report can say which flags
would give it.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from tfreuse import specs
from tfreuse.analysis import (
    ages,
    barriers,
    channels,
    ladder,
    paths,
    predictors,
    reasons,
    shapley,
    significance,
    tables,
)
from tfreuse.analysis.arms import Arms, Part
from tfreuse.analysis.one_pair import OnePair
from tfreuse.analysis.tables import Row
from tfreuse.report import arrays, captions
from tfreuse.report.arrays import Arrays
from tfreuse.report.figures import norms, strip
from tfreuse.report.figures.network import Skips


@dataclasses.dataclass(frozen=True)
class Subject:
    """The data of one part of a study that figures are drawn from."""

    part: Part
    arms: Arms
    spec: specs.StudySpec
    skips: Skips = True  # of a U-shaped network
    arrays: Arrays = dataclasses.field(default_factory=dict)
    stages: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of layers
    pair: OnePair | None = None  # of a study of one seed
    ages: Mapping[int, Arms] = dataclasses.field(default_factory=dict)  # by updates
    steps: int = 0  # updates of a whole training
    channel_curves: channels.Curves = dataclasses.field(default_factory=dict)

    def only(self, *kinds: str) -> Arms:
        """Returns the arms of some kinds of sites, of the declared groups."""
        return {
            arm: seeds
            for arm, seeds in self.arms.items()
            if arm.site_kind in kinds and arm.group in self.spec.groups
        }

    @functools.cached_property
    def _heats(self) -> dict[str, list[Row]]:
        return {}

    def heat(self, kind: str) -> list[Row]:
        """Returns the cells of one kind of site with their significance; computed once."""
        if kind not in self._heats:
            arms = self.only(kind, "stage")  # stages name the layers' brackets
            rows = tables.heat_rows(arms, kind, self.spec, self.stages)
            cells = self.only(kind)
            rows = significance.mark(rows, cells, self.spec) if rows else []
            self._heats[kind] = self.pair.heat(rows) if self.pair else rows
        return self._heats[kind]

    def over_images(self, rows: list[Row]) -> list[Row]:
        """Returns rows of arms, of one pair of networks with intervals over images."""
        return self.pair.over_images(rows) if self.pair else rows


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One kind of figure; `tfreuse.report.figures.draw` draws it."""

    kind: str  # begins the names of its files
    section: str
    title: str
    rows: Callable[[Subject], list[Row]]
    caption: Callable[[list[Row], Subject], str]
    needs: Mapping[str, Any]  # field of StudySpec -> values that it must hold
    detail: bool = False  # shown when asked for
    live: bool = False  # the views show it too, so that scripts hide it on screen

    def hint(self, spec: specs.StudySpec) -> str:
        """Returns in one line which flags, or which wait, would give the figure."""
        lacking = []
        for name, needed in self.needs.items():
            setting = getattr(spec, name)
            if needed is True:
                lacking += [] if setting else [f"--{name}"]
                continue
            missing = [f"{value}" for value in needed if value not in setting]
            if missing:
                lacking.append(f"{', '.join(missing)} in --{name}")
        name = f"No figure “{self.title}”"
        if lacking:
            return f"{name}: it needs {' and '.join(lacking)}."
        if not self.needs:
            return f"{name}: it is made when the study is complete."
        return (
            f"{name}: the study has not come to it yet, its networks lack the parameters, or "
            "they were left out as untrained (Can this be believed?)."
        )


def _network(subject: Subject) -> list[Row]:
    return [
        row
        for row in subject.heat("stage")
        if row["repair"] in ("none", "recalibration")
    ]


def _profiles(subject: Subject) -> list[Row]:
    """Returns profiles of layers, or of stages where no layer was measured."""
    for kind in ("layer", "stage"):
        arms = subject.only(kind)
        if any(arm.control == "transfer" for arm in arms):
            return paths.profiles(arms, subject.spec)
    return []


def _ladder(subject: Subject) -> list[Row]:
    return ladder.rows(subject.only("all", "stage"), subject.spec)


def _steps(subject: Subject) -> list[Row]:
    rows = ladder.rows(subject.only("all"), subject.spec)
    return [row for row in rows if row["quantity"] == "level"]


def _shapley(subject: Subject) -> list[Row]:
    arms = {
        arm: seeds
        for arm, seeds in subject.arms.items()
        if arm.site_kind in ("all", "stage") and arm.repair == "none"
    }
    rows = shapley.rows(arms, subject.spec)
    present = {row["group"] for row in rows if row.get("absent") is False}
    several = present & set(shapley.PLAYERS)
    return rows if len(several) > 1 else []  # one role alone has the whole loss


def _scatter(subject: Subject) -> list[Row]:
    """Returns the correlation of each predictor, and the points of the scatter plots."""
    for kind in ("layer", "stage"):
        arms = subject.only(kind)
        cells = predictors.columns_by_seed(arms, kind)
        correlations = predictors.rows(arms, subject.spec) if cells else []
        if not correlations:
            continue
        points = [
            {"site_kind": kind, "quantity": "point", "seed": seed}
            | dict(zip(columns, map(float, values), strict=True))
            for seed, columns in cells.items()
            for values in zip(*columns.values(), strict=True)
        ]
        return correlations + points
    return []


def _pictures(
    names: tuple[str, ...], rows: Callable[[Arrays], list[Row]]
) -> Callable[[Subject], list[Row]]:
    """Returns the function of a picture's rows where the study has its arrays."""
    return lambda subject: (
        rows(subject.arrays) if arrays.has(subject.arrays, names) else []
    )


def _similarities(stored: Arrays) -> list[Row]:
    from tfreuse.report.figures import plots  # imports Matplotlib

    return plots.ROWS["kernels"](stored)


DRAWINGS = (
    Drawing(
        "reasons", "Two reasons", "the two reasons, told apart",
        lambda s: reasons.rows(s.only("all", "stage"), s.spec),
        captions.reasons, {"controls": ("angle",)}, live=True,
    ),
    Drawing(
        "forest", "All layers at once", "all layers",
        lambda s: s.over_images(tables.forest_rows(s.arms, s.spec)),
        captions.forest, {"sites": ("all",)},
    ),
    Drawing(
        "network", "Where in the network", "the network, stage by stage", _network,
        captions.network, {"sites": ("stage",)}, live=True,
    ),
    Drawing(
        "stage", "Where in the network", "single stages", lambda s: s.heat("stage"), captions.heat,
        {"sites": ("stage",)}, live=True,
    ),
    Drawing(
        "layer", "Where in the network", "single layers", lambda s: s.heat("layer"), captions.heat,
        {"sites": ("layer",)}, detail=True, live=True,
    ),
    Drawing(
        "leave_one_out", "Where in the network", "all but one", lambda s: s.heat("leave_one_out"),
        captions.heat, {"sites": ("leave_one_out",)}, detail=True, live=True,
    ),
    Drawing(
        "cumulative", "Where in the network", "from the input, and to the output",
        lambda s: s.over_images(tables.curve_rows(s.only("prefix", "suffix"), s.spec)),
        captions.cumulative, {"sites": ("prefix", "suffix")}, detail=True,
    ),
    Drawing(
        "strengths", "Where in the network", "how far one can go",
        lambda s: paths.strengths(s.only("all", "stage"), s.spec),
        captions.strengths, {"strengths": (0.5,)}, detail=True,
    ),
    Drawing(
        "barriers", "Between donor and recipient", "the barrier between donor and recipient",
        lambda s: barriers.rows(s.only("all"), s.spec),
        captions.barriers, {"strengths": (0.5,), "sites": ("all",)}, live=True,
    ),
    Drawing(
        "channels", "Which channels", "which channels to move",
        lambda s: channels.rows(s.channel_curves, s.spec),
        captions.channels, {"sites": ("channels",)}, live=True,
    ),
    Drawing(
        "profiles", "Where in the network", "how much of the network", _profiles,
        captions.profiles, {"sites": ("layer",)}, detail=True,
    ),
    Drawing(
        "ladder", "What repairs win back", "what the loss is made of", _ladder,
        captions.ladder,
        {"repairs": ("recalibration", "permutation", "permutation+recalibration")}, live=True,
    ),
    Drawing(
        "steps", "What repairs win back", "all layers after each repair", _steps,
        captions.steps, {"repairs": ("recalibration",)}, detail=True,
    ),
    Drawing(
        "shapley", "Which role is to blame", "the loss, shared out among roles", _shapley,
        captions.shapley, {"shapley": True, "sites": ("stage",)}, live=True,
    ),
    Drawing(
        "ages", "When reuse appears", "retention against the age of the donor",
        lambda s: ages.rows(s.ages, s.arms, s.steps, s.spec),
        captions.ages, {"donor_updates": True}, live=True,
    ),
    Drawing(
        "scatter", "What predicts reuse", "what predicts the retention of kernels",
        _scatter, captions.scatter, {"sites": ("layer",), "groups": ("kernel",)},
    ),
    Drawing(
        "strip", "Pictures", "what a transplant looks like",
        _pictures(arrays.STRIP, strip.strip_rows), captions.strip, {},
    ),
    Drawing(
        "norms", "Pictures", "batch normalization", _pictures(arrays.NORMS, norms.norm_rows),
        captions.norms, {}, detail=True,
    ),
    Drawing(
        "kernels", "Pictures", "kernels and features",
        _pictures(arrays.KERNELS, _similarities), captions.kernels, {}, detail=True,
    ),
)  # fmt: skip
