"""Fits a search into the time: how many folds, which plans, how many steps a training.

    pace = Pace(step=0.05, training=1.0, start=4.0)  # measured, in seconds
    chosen = make_schedule(pace, minutes=18, costs={"encoder": 1.0, ...}, folds=5, steps=300)
    chosen.describe()

It is decided once, before any plan is evaluated, from times alone: no metric enters, so the choice
of the schedule adds no optimism.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from tfreuse.advisor import selection

# The rungs tried one after another until one fits: (least share of the steps, plans, folds).
LADDER = (
    (1.0, 12, 5), (1.0, 8, 5), (0.75, 8, 5), (0.75, 6, 5), (0.5, 6, 5), (0.5, 6, 4),
    (0.5, 4, 4), (0.5, 4, 3), (0.5, 3, 3), (0.5, 2, 3), (0.25, 3, 3), (0.25, 2, 3),
    (0.1, 2, 3),
)  # fmt: skip
# Recipes by priority: those that help most often, then those that are used most often.
PRIORITY = (
    "encoder", "fine_tuned_recalibrated", "encoder_frozen", "kernels", "prefix", "surgical",
    "affine_only", "fine_tuned", "moments", "head_only",
)  # fmt: skip
FEWEST_STEPS = 25  # a training; with fewer, differences between plans are noise
_FINISH = 30.0  # seconds for the export, the check of the SavedModel and the page


@dataclasses.dataclass(frozen=True)
class Pace:
    """Measured times in seconds."""

    step: float  # one step that trains everything
    training: float  # a training apart from its steps: statistics, evaluation
    start: float  # added by the first training of a plan: tracing


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The size of a search.

    Attributes:
        plans: plans to train, in their order.
        left_out: plans that there is no time for.
        steps: optimizer updates a training.
        asked: optimizer updates that --steps asked for.
        folds: of the cross-validation.
        seconds: estimated duration.
        minutes: duration allowed by --budget.
    """

    plans: tuple[str, ...]
    left_out: tuple[str, ...]
    steps: int
    asked: int
    folds: int
    seconds: float
    minutes: float

    def to_json(self) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in ("plans", "left_out")}
        return dataclasses.asdict(self) | lists

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        lists = {name: tuple(values[name]) for name in ("plans", "left_out")}
        return cls(**{**values, **lists})

    def describe(self) -> str:
        """Returns one or two sentences for the advice page."""
        text = (
            f"{len(self.plans)} recipes, {self.folds} folds, {self.steps} steps a training: "
            f"at most {selection.most_trainings(len(self.plans), self.folds)} trainings, "
            f"about {self.seconds / 60:.0f} min."
        )
        cuts = []
        if self.steps < self.asked:
            cuts.append(f"{self.asked} steps became {self.steps}")
        if self.left_out:
            cuts.append(f"left out: {', '.join(self.left_out)}")
        if cuts:
            text += f" To fit into {self.minutes:g} min, {'; '.join(cuts)}."
        if self.seconds > 60 * self.minutes:
            text += (
                f" A smaller search could not judge a recipe, so it takes longer than the "
                f"{self.minutes:g} min allowed."
            )
        return text


def make_schedule(
    pace: Pace, minutes: float, costs: Mapping[str, float], folds: int, steps: int
) -> Schedule:
    """Returns the first rung of LADDER that fits, else the last, with as many steps as fit.

    Args:
        pace: as measured.
        minutes: duration allowed.
        costs: of a step of each plan, as a share of one that trains everything.
        folds: upper bound.
        steps: upper bound, a training.
    """
    order = sorted(costs, key=_rank)
    for share, most_plans, rung_folds in LADDER:
        plans = set(order[:most_plans])
        recipes = tuple(name for name in costs if name in plans)
        rung_folds = min(rung_folds, folds)
        fixed, a_step = _seconds(recipes, rung_folds, pace, costs)
        fitting = int((60 * minutes - fixed) / a_step) if a_step else steps
        least = max(min(steps, FEWEST_STEPS), round(share * steps))
        if fitting >= least:
            break
    used = min(steps, max(least, fitting))
    return Schedule(
        plans=recipes,
        left_out=tuple(name for name in costs if name not in plans),
        steps=used,
        asked=steps,
        folds=rung_folds,
        seconds=fixed + used * a_step,
        minutes=minutes,
    )


def _rank(name: str) -> tuple[int, str]:
    """Returns the priority of a plan: `encoder`, or `encoder@2` of the second donor."""
    recipe, _, donor = name.partition("@")
    rank = PRIORITY.index(recipe) if recipe in PRIORITY else len(PRIORITY)
    return rank, donor


def _seconds(
    plans: tuple[str, ...], folds: int, pace: Pace, costs: Mapping[str, float]
) -> tuple[float, float]:
    """Estimates the duration of a search but for its steps, and of one step of each training.

    Every plan is taken at the mean cost.
    """
    trainings = selection.most_trainings(len(plans), folds)
    mean = sum(costs[name] for name in plans) / max(1, len(plans))
    # the default, and the final training, train everything: cost 1
    a_step = pace.step * (mean * (trainings - folds) + folds + 1)
    fixed = pace.training * (trainings + 1) + pace.start * (len(plans) + 1)
    return fixed + _FINISH, a_step
