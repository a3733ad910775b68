"""Evaluates label curves: the metric at n labels, labels saved, and where an arm stops helping.

    arms = label_curves.by_arm(records)
    label_curves.curves(arms, 0.95)      # a row an arm and n: mean, interval, gain over scratch
    label_curves.areas(arms, 0.95)       # a row an arm: mean height over log2 n, gain, verdict
    label_curves.savings(arms, 0.95)     # a row an arm and n: n_scratch / n, or a bound of it
    label_curves.crossovers(arms, 0.95)  # a row an arm: where it helps, where its gain ends
    label_curves.speeds(arms, 0.95)      # a row an arm and n: updates to 90 % of scratch's end

A replicate is a seed: its own donor, subset and initial values. Arms are paired with scratch by
seed, since these are shared.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfreuse.analysis import Row, intervals, label_savings
from tfreuse.analysis.arms import Values, add, order_of
from tfreuse.records import LabelRecord
from tfreuse.specs.labels import RECIPES, SCRATCH

SPEED = 0.9  # share of scratch's gain over its floor


class Arm(NamedTuple):
    """A way to learn from few labels, the same for every number of labels and seed."""

    architecture: str
    donor: str  # kind; "" for scratch
    recipe: str

    def __str__(self) -> str:
        return f"{self.recipe} of {self.donor}" if self.donor else self.recipe


Seeds = Mapping[int, LabelRecord]  # seed -> record
Arms = Mapping[Arm, Mapping[int, Seeds]]  # arm -> labels -> seed -> record


def by_arm(records: Iterable[LabelRecord]) -> Arms:
    """Indexes the records by arm, number of labels (the fewest first) and seed.

    Scratch comes first, then donor by donor in the order of RECIPES. Donors are sorted by name,
    the numbers in it by their size.

    Raises:
        InputError: two records are of the same arm, number and seed.
    """
    arms: dict[Arm, dict[int, dict[int, LabelRecord]]] = {}
    for record in sorted(records, key=lambda record: record.labels):
        arm = Arm(record.architecture, record.donor, record.recipe)
        seeds = arms.setdefault(arm, {}).setdefault(record.labels, {})
        add(seeds, record, "labels.jsonl")

    def position(arm: Arm) -> tuple:
        recipe = order_of(arm.recipe, RECIPES)
        words = re.split(r"(\d+)", arm.donor)  # every second one is a number
        words[1::2] = map(int, words[1::2])
        return arm.architecture, words, recipe, arm.recipe

    return {arm: arms[arm] for arm in sorted(arms, key=position)}


def curves(arms: Arms, confidence: float) -> list[Row]:
    """Returns the metric of every arm at every n, and its gain over scratch, paired by seed."""
    rows = []
    for arm, labels, seeds, scratch in _cells(arms):
        values = [record.value for record in seeds.values()]
        row = arm._asdict() | {"labels": labels}
        row |= intervals.mean_interval(values, confidence).to_row()
        row["floor"] = float(np.mean([record.floor for record in seeds.values()]))
        row |= _gain_columns(_gains(seeds, scratch), confidence)
        rates = [f"{record.learning_rate:g}" for record in seeds.values()]
        rows.append(row | {"rates": " ".join(rates)})
    return rows


def by_group(arms: Arms, confidence: float) -> list[Row]:
    """Returns `curves` of each group of test images; `seen`: training has the group too."""
    rows = []
    for arm, labels, seeds, scratch in _cells(arms):
        for group in sorted(set().union(*(r.groups for r in seeds.values()))):
            values, baseline = _of_group(seeds, group), _of_group(scratch, group)
            in_training = any(
                r.groups[group][1] for r in seeds.values() if group in r.groups
            )
            gains = [values[s] - baseline[s] for s in values if s in baseline]
            row = arm._asdict() | {
                "labels": labels,
                "group": group,
                "seen": in_training,
            }
            row |= intervals.mean_interval(list(values.values()), confidence).to_row()
            rows.append(row | _gain_columns(gains, confidence))
    return rows


def _of_group(seeds: Seeds, group: str) -> Values:
    """Returns the metric of the group's test images by seed."""
    return {s: r.groups[group][0] for s, r in seeds.items() if group in r.groups}


def areas(arms: Arms, confidence: float) -> list[Row]:
    """Returns each arm's mean height over log2 n, its gain over scratch, and the verdict on it.

    The height is the area under the curve over log2 n, by trapezoids, divided by the curve's
    width. The verdict is "supported" where the whole interval of the gain lies above 0,
    "refuted" where it lies below, "not testable" with a single seed.
    """
    rows = []
    for arm, counts in arms.items():
        heights = _heights(counts)
        if not heights:
            continue
        row = arm._asdict() | {"labels": f"{min(counts)} to {max(counts)}"}
        row |= intervals.mean_interval(list(heights.values()), confidence).to_row()
        scratch = arms.get(_scratch(arm), {})
        if arm.recipe != SCRATCH and set(scratch) == set(counts):
            baseline = _heights(scratch)
            gains = [heights[s] - baseline[s] for s in heights if s in baseline]
            row |= _verdict_columns(gains, confidence)
        rows.append(row)
    tested = [row for row in rows if row.get("p") is not None]
    adjusted = intervals.holm([row["p"] for row in tested])
    for row, p in zip(tested, adjusted, strict=True):
        row["p_holm"] = p
    return rows


def savings(arms: Arms, confidence: float) -> list[Row]:
    """Returns the label saving n_scratch / n of every arm and n.

    n_scratch is where the same seed's scratch curve, made monotone by isotonic regression and
    linear between its points over log n, first reaches the arm's metric (Newell and Deng 2020,
    arXiv:2003.14323). Beyond that curve's ends only a bound is known: `censored` is ">" where
    an arm does better than scratch with most labels, "<" where it does worse than with
    fewest, and the interval's end on that side is open; bounds count as they stand, so the
    other end errs towards 1. Means and intervals are of log2, over seeds.

    Where every seed has a bound alone, the interval inverts tests: the saving is above m / n for
    each measured m, from the fewest on, at which the arm's gain over scratch with m labels,
    paired by seed, has an interval above 0; and correspondingly below. The tests stop at the first that
    decides nothing, so that all hold together.
    """
    rows = []
    for arm, counts in arms.items():
        if arm.recipe == SCRATCH:
            continue
        scratch_counts = arms.get(_scratch(arm), {})
        scratch = {  # the end of an unfinished curve would look like a bound
            seed: values
            for seed, values in _by_seed(scratch_counts).items()
            if len(values) == len(scratch_counts) > 1
        }
        for labels, seeds in counts.items():
            needed = [
                label_savings.labels_needed(scratch[seed], record.value)
                for seed, record in seeds.items()
                if seed in scratch
            ]
            if not needed:
                continue
            row = arm._asdict() | {"labels": labels}
            row |= label_savings.columns(needed, labels, confidence)
            if row["seeds_censored"] == len(needed) > 1:
                values = {seed: record.value for seed, record in seeds.items()}
                row |= label_savings.by_tests(values, scratch, labels, confidence)
            rows.append(row)
    return rows


def crossovers(arms: Arms, confidence: float) -> list[Row]:
    """Returns where each arm helps: the n at which it surely does, and where its gain ends.

    `crossover` is where the mean gain over scratch first falls to 0 after it was above, linear
    over log n; None with `censored` ">" where it is above 0 to the end, "<" where it never is.
    """
    rows = []
    for arm, counts in arms.items():
        scratch = arms.get(_scratch(arm), {}) if arm.recipe != SCRATCH else {}
        gains = {n: _gains(seeds, scratch.get(n, {})) for n, seeds in counts.items()}
        gains = {n: values for n, values in gains.items() if values}
        ends = {n: intervals.mean_interval(gains[n], confidence) for n in gains}
        if not ends:
            continue
        means = {n: end.estimate for n, end in ends.items()}
        crossover, censored = _end_of_gain(means)
        rows.append(
            {
                **arm._asdict(),
                "helps_at": " ".join(str(n) for n, end in ends.items() if end.low > 0),
                "harms_at": " ".join(str(n) for n, end in ends.items() if end.high < 0),
                "crossover": crossover,
                "censored": censored,
                "n": min(end.n for end in ends.values()),
            }
        )
    return rows


def speeds(arms: Arms, confidence: float) -> list[Row]:
    """Returns the updates until an arm reaches 90 % of scratch's gain over its floor.

    Of scratch with as many labels and the same seed. The metric is linear between the steps at
    which it was measured. A seed that never reaches the goal counts in `n` but not in
    `reached`, and then there is no mean.
    """
    rows = []
    for arm, labels, seeds, scratch in _cells(arms):
        scratch = seeds if arm.recipe == SCRATCH else scratch
        steps = [_first_step(seeds[s], scratch[s]) for s in seeds if s in scratch]
        if not steps:
            continue
        row = arm._asdict() | {"labels": labels}
        row |= {"n": len(steps), "reached": len(steps) - steps.count(None)}
        if None not in steps:
            row |= intervals.mean_interval(steps, confidence).to_row()
        rows.append(row)
    return rows


def _first_step(record: LabelRecord, scratch: LabelRecord) -> float | None:
    """Returns the step at which the record's course reaches the goal; None if it does not."""
    goal = scratch.floor + SPEED * (scratch.value - scratch.floor)
    previous_step, previous = 0.0, -math.inf
    for step, value in record.course:
        if value >= goal:
            if math.isinf(previous):  # at the first measurement already
                return float(step)
            share = (goal - previous) / (value - previous)
            return previous_step + share * (step - previous_step)
        previous_step, previous = step, value
    return None


def _end_of_gain(means: Mapping[int, float]) -> tuple[float | None, str]:
    """Returns `crossover` and `censored`, from the mean gain by number of labels."""
    first = min((n for n in means if means[n] > 0), default=None)
    if first is None:
        return None, "<"
    for low, high in itertools.pairwise(sorted(means)):
        if low >= first and means[low] > 0 >= means[high]:
            # linear over log n: n is a power of the ratio of both numbers of labels
            share = means[low] / (means[low] - means[high])
            return float(low * (high / low) ** share), ""
    return None, ">"


def _verdict_columns(gains: Sequence[float], confidence: float) -> Row:
    """Returns the gain's interval, p and the verdict on "more than scratch"."""
    if len(gains) < 2:
        return {"verdict": "not testable"}
    columns = _gain_columns(gains, confidence)
    verdict = "supported" if columns["gain_low"] > 0 else "inconclusive"
    if columns["gain_high"] < 0:
        verdict = "refuted"
    return columns | {"p": intervals.p_value(gains), "verdict": verdict}


def _gain_columns(gains: Sequence[float], confidence: float) -> Row:
    if not gains:
        return {}
    gain = intervals.mean_interval(gains, confidence)
    columns = gain.to_row()
    return {
        f"gain_{name}": columns[name] for name in ("mean", "low", "high", "n", "method")
    }


def _cells(arms: Arms) -> Iterator[tuple[Arm, int, Seeds, Seeds]]:
    """Yields arm, labels, its records and those of scratch with as many labels.

    Scratch itself has no baseline.
    """
    for arm, counts in arms.items():
        scratch = arms.get(_scratch(arm), {}) if arm.recipe != SCRATCH else {}
        for labels, seeds in counts.items():
            yield arm, labels, seeds, scratch.get(labels, {})


def _gains(seeds: Seeds, scratch: Seeds) -> list[float]:
    """Returns the metric less scratch's, paired by seed."""
    return [seeds[s].value - scratch[s].value for s in sorted(seeds) if s in scratch]


def _heights(counts: Mapping[int, Seeds]) -> Values:
    """Returns the mean height over log2 n of each seed that has every n; {} with a single n."""
    if len(counts) < 2:
        return {}
    logs = np.log2(sorted(counts))
    return {
        seed: float(np.trapezoid([values[n] for n in sorted(values)], logs))
        / float(logs[-1] - logs[0])
        for seed, values in _by_seed(counts).items()
        if len(values) == len(counts)
    }


def _by_seed(counts: Mapping[int, Seeds]) -> dict[int, dict[int, float]]:
    """Returns the metric by seed, then by number of labels."""
    values: dict[int, dict[int, float]] = {}
    for labels, seeds in counts.items():
        for seed, record in seeds.items():
            values.setdefault(seed, {})[labels] = record.value
    return values


def _scratch(arm: Arm) -> Arm:
    return Arm(arm.architecture, "", SCRATCH)
