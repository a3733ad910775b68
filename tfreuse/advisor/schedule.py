"""What fits into the time: how many folds, which plans, how many steps a training.

    pace = schedule.Pace(step=0.05, training=1.0, start=4.0)     # measured, in seconds
    made = schedule.make(pace, minutes=18, costs={"encoder": 1.0, ...}, folds=5, steps=300)
    made.describe()

Decided once, before any plan has been measured, from times alone: no result has a say.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from tfreuse.advisor import selection

# What is given up as time gets short, in this order: (share of the steps, plans, folds).
LADDER = (
    (1.0, 12, 5), (1.0, 8, 5), (0.75, 8, 5), (0.75, 6, 5), (0.5, 6, 5), (0.5, 6, 4),
    (0.5, 4, 4), (0.5, 4, 3), (0.5, 3, 3), (0.5, 2, 3), (0.25, 3, 3), (0.25, 2, 3),
    (0.1, 2, 3),
)  # fmt: skip
# Plans that are kept longest come first: what most often helps, then what most people do.
KEPT_FIRST = (
    "encoder", "fine_tuned_recalibrated", "encoder_frozen", "kernels", "prefix", "surgical",
    "affine_only", "fine_tuned", "moments", "head_only",
)  # fmt: skip
FEWEST_STEPS = 25  # a training; with fewer everything is noise
_FINISH = 30.0  # seconds for the export, the check of the SavedModel and the page


@dataclasses.dataclass(frozen=True)
class Pace:
    """Seconds of one step that trains everything, of a training apart from its steps
    (statistics, evaluation), and of a plan's first training besides (tracing)."""

    step: float
    training: float
    start: float


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What a search does.

    Attributes:
        plans: in their order; `left_out` are those that there is no time for.
        steps: optimizer updates a training; `asked` how many were asked for.
        folds: of the cross-validation.
        seconds: how long it should take.
        minutes: how long it may take.
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
        """One or two sentences."""
        text = (
            f"{len(self.plans)} recipes, {self.folds} folds, {self.steps} steps a training: "
            f"at most {selection.most_trainings(len(self.plans), self.folds)} trainings, "
            f"about {self.seconds / 60:.0f} minutes."
        )
        given_up = []
        if self.steps < self.asked:
            given_up.append(f"{self.asked} steps became {self.steps}")
        if self.left_out:
            given_up.append(f"left out: {', '.join(self.left_out)}")
        if given_up:
            text += f" To fit into {self.minutes:g} minutes, {'; '.join(given_up)}."
        if self.seconds > 60 * self.minutes:
            text += (
                f" Less than this cannot be judged, so it takes longer than the "
                f"{self.minutes:g} minutes allowed."
            )
        return text


def make(
    pace: Pace, minutes: float, costs: Mapping[str, float], folds: int, steps: int
) -> Schedule:
    """The first rung of LADDER that fits, else the last.

    Args:
        pace: as measured.
        minutes: what there is.
        costs: of a step of each plan, as a share of one that trains everything.
        folds: at most so many.
        steps: a training, at most so many.
    """
    order = sorted(costs, key=_rank)
    tried = []
    for share, most, rung_folds in LADDER:
        kept = set(order[:most])
        plans = tuple(name for name in costs if name in kept)
        tried.append(
            Schedule(
                plans=plans,
                left_out=tuple(name for name in costs if name not in kept),
                steps=max(min(steps, FEWEST_STEPS), round(share * steps)),
                asked=steps,
                folds=min(rung_folds, folds),
                seconds=0.0,
                minutes=minutes,
            )
        )
        tried[-1] = dataclasses.replace(
            tried[-1], seconds=_seconds(tried[-1], pace, costs)
        )
        if tried[-1].seconds <= 60 * minutes:
            break
    return tried[-1]


def _rank(name: str) -> tuple[int, str]:
    """The place of a plan (`encoder`, or `encoder@2` of the second donor) among those kept."""
    recipe, _, donor = name.partition("@")
    place = KEPT_FIRST.index(recipe) if recipe in KEPT_FIRST else len(KEPT_FIRST)
    return place, donor


def _seconds(schedule: Schedule, pace: Pace, costs: Mapping[str, float]) -> float:
    """About how long the schedule takes: the dearer plans are taken to survive."""
    plans = sorted((costs[name] for name in schedule.plans), reverse=True)
    count, folds = len(plans), schedule.folds
    trainings = selection.most_trainings(count, folds)
    mean = sum(plans) / max(1, count)
    steps = schedule.steps * pace.step * (mean * (trainings - folds) + folds + 1)
    rest = pace.training * (trainings + 1) + pace.start * (count + 1)
    return steps + rest + _FINISH
