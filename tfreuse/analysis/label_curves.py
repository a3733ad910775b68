"""What label curves say: the metric at n labels, the labels saved, where an arm stops helping.

    arms = results.index(records)
    results.curves(arms, 0.95)      # a row an arm and n: mean, interval, paired gain over scratch
    results.areas(arms, 0.95)       # a row an arm: mean height over log2 n, gain, verdict
    results.savings(arms, 0.95)     # a row an arm and n: n_scratch / n, censored where it must be
    results.crossovers(arms, 0.95)  # a row an arm: where it helps, where its gain ends
    results.speeds(arms, 0.95)      # a row an arm and n: updates to 90 % of what scratch reaches

A replicate is a seed: its own donor, subset and initial values. Arms are paired with scratch by
seed, since these are shared. Rows are plain dicts, as CSV files hold them.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfreuse.analysis import intervals
from tfreuse.errors import InputError
from tfreuse.records import LabelRecord
from tfreuse.specs.labels import RECIPES, SCRATCH

Row = dict[str, Any]
SPEED = 0.9  # share of what scratch gains over the floor


class Arm(NamedTuple):
    """A way to learn from few labels, whatever their number and the seed."""

    architecture: str
    donor: str  # kind; "" for scratch
    recipe: str

    def __str__(self) -> str:
        return f"{self.recipe} of {self.donor}" if self.donor else self.recipe


Seeds = Mapping[int, LabelRecord]  # seed -> record
Arms = Mapping[Arm, Mapping[int, Seeds]]  # arm -> labels -> seed -> record


def by_arm(records: Iterable[LabelRecord]) -> Arms:
    """The records by arm, number of labels (the fewest first) and seed.

    Raises:
        InputError: two records are of the same arm, number and seed.
    """
    found: dict[Arm, dict[int, dict[int, LabelRecord]]] = {}
    for record in sorted(records, key=lambda one: one.labels):
        arm = Arm(record.architecture, record.donor, record.recipe)
        seeds = found.setdefault(arm, {}).setdefault(record.labels, {})
        if record.seed in seeds:
            raise InputError(
                f"expected one record of {record.key}, got two. Delete the line of one of them "
                "from labels.jsonl."
            )
        seeds[record.seed] = record
    return dict(sorted(found.items(), key=lambda one: _place(one[0])))


def curves(arms: Arms, confidence: float) -> list[Row]:
    """The metric of every arm at every n, and its gain over scratch, paired by seed."""
    rows = []
    for arm, counts in arms.items():
        for labels, seeds in counts.items():
            values = [record.value for record in seeds.values()]
            row = _about(arm, labels)
            row |= intervals.mean_interval(values, confidence).to_row()
            row["floor"] = float(np.mean([one.floor for one in seeds.values()]))
            row |= _gain(_gains(arms, arm, labels), confidence)
            row["rates"] = " ".join(f"{one.learning_rate:g}" for one in seeds.values())
            rows.append(row)
    return rows


def by_group(arms: Arms, confidence: float) -> list[Row]:
    """`curves` for each group of test images; `seen`: training images are of the group too."""
    rows = []
    for arm, counts in arms.items():
        for labels, seeds in counts.items():
            scratch = arms.get(_scratch(arm), {}).get(labels, {})
            for group in sorted(
                {name for one in seeds.values() for name in one.groups}
            ):
                ours = _of_group(seeds, group)
                theirs = _of_group(scratch, group) if arm.recipe != SCRATCH else {}
                seen = any(one.groups[group][1] for one in seeds.values())
                told = intervals.mean_interval(list(ours.values()), confidence)
                gains = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
                row = _about(arm, labels) | {"group": group, "seen": seen}
                rows.append(row | told.to_row() | _gain(gains, confidence))
    return rows


def _of_group(seeds: Seeds, group: str) -> dict[int, float]:
    return {s: one.groups[group][0] for s, one in seeds.items() if group in one.groups}


def areas(arms: Arms, confidence: float) -> list[Row]:
    """Each arm's mean height over log2 n, its gain over scratch, and the verdict on that.

    The height is the area under the curve over log2 n, by trapezes, divided by the curve's
    width. The verdict is "supported" where the whole interval of the gain lies above 0.
    """
    rows = []
    for arm, counts in arms.items():
        own = _heights(counts)
        if not own:
            continue
        row = {
            **_about(arm),
            "labels": f"{min(counts)} to {max(counts)}",
            **intervals.mean_interval(list(own.values()), confidence).to_row(),
        }
        scratch = _heights(arms.get(_scratch(arm), {}))
        if arm.recipe != SCRATCH and set(arms.get(_scratch(arm), {})) == set(counts):
            row |= _judged(
                [own[s] - scratch[s] for s in own if s in scratch], confidence
            )
        rows.append(row)
    tested = [row for row in rows if row.get("p") is not None]
    adjusted = intervals.holm([row["p"] for row in tested])
    for row, p in zip(tested, adjusted, strict=True):
        row["p_holm"] = p
    return rows


def savings(arms: Arms, confidence: float) -> list[Row]:
    """How many times as many labels scratch needs, for every arm and n: n_scratch / n.

    n_scratch is where the same seed's scratch curve, made monotone by isotonic regression and
    linear between its points over log n, first reaches the arm's metric (Newell and Deng 2020,
    arXiv:2003.14323). Beyond that curve's ends only a bound is known: `censored` is ">" where
    an arm does better than scratch with most labels, "<" where it does worse than with
    fewest, and the interval's end on that side is open; bounds count as they stand, so the
    other end errs towards 1. Means and intervals are of log2, over seeds.
    """
    rows = []
    for arm, counts in arms.items():
        whole = arms.get(_scratch(arm), {})
        scratch = {  # a curve that is not all measured would look like a bound
            seed: values
            for seed, values in _by_seed(whole).items()
            if len(values) == len(whole) > 1
        }
        if arm.recipe == SCRATCH:
            continue
        for labels, seeds in counts.items():
            found = [
                (labels_needed(scratch[seed], record.value), labels)
                for seed, record in seeds.items()
                if seed in scratch
            ]
            if found:
                rows.append(_about(arm, labels) | _saving(found, confidence))
    return rows


def labels_needed(scratch: Mapping[int, float], value: float) -> tuple[float, str]:
    """How many labels scratch needs to reach `value`, and whether that is a bound.

    Args:
        scratch: metric by number of labels, of one seed.
        value: the metric to reach.

    Returns:
        the number and ""; the most labels and ">"; the fewest and "<".
    """
    counts = sorted(scratch)
    from scipy import optimize  # here, so that `--help` need not wait for it

    heights = optimize.isotonic_regression([scratch[n] for n in counts]).x
    if value > heights[-1]:
        return float(counts[-1]), ">"
    if value < heights[0]:
        return float(counts[0]), "<"
    place = int(np.argmax(heights >= value))
    if place == 0:
        return float(counts[0]), ""
    low, high = heights[place - 1], heights[place]
    share = (value - low) / (high - low)
    logs = np.log2(counts[place - 1 : place + 1])
    return float(2 ** (logs[0] + share * (logs[1] - logs[0]))), ""


def crossovers(arms: Arms, confidence: float) -> list[Row]:
    """Where each arm helps: at which n surely, and the n at which its mean gain ends.

    `crossover` is where the mean gain over scratch first falls to 0 after it was above, linear
    over log n; None with `censored` ">" where it is above 0 to the end, "<" where it never is.
    """
    rows = []
    for arm, counts in arms.items():
        if arm.recipe == SCRATCH:
            continue
        gains = {labels: _gains(arms, arm, labels) for labels in counts}
        gains = {labels: found for labels, found in gains.items() if found}
        if not gains:
            continue
        told = {
            n: intervals.mean_interval(found, confidence) for n, found in gains.items()
        }
        means = {n: one.estimate for n, one in told.items()}
        crossover, censored = _end_of_gain(means)
        rows.append(
            {
                **_about(arm),
                "helps_at": " ".join(str(n) for n, one in told.items() if one.low > 0),
                "harms_at": " ".join(str(n) for n, one in told.items() if one.high < 0),
                "crossover": crossover,
                "censored": censored,
                "n": min(one.n for one in told.values()),
            }
        )
    return rows


def speeds(arms: Arms, confidence: float) -> list[Row]:
    """Updates until an arm reaches 90 % of what scratch ends with, with as many labels.

    Of what scratch ends with above its floor, on the same seed. Between the steps at which the
    metric was noted it is taken as linear; a seed that never gets there is counted in `n` and
    not in `reached`, and there is no mean then.
    """
    rows = []
    for arm, counts in arms.items():
        for labels, seeds in counts.items():
            ends = arms.get(_scratch(arm), {}).get(labels, {})
            steps = [
                _first_step(record, ends[seed])
                for seed, record in seeds.items()
                if seed in ends
            ]
            if not steps:
                continue
            row = _about(arm, labels)
            row |= {"n": len(steps), "reached": sum(one is not None for one in steps)}
            if None not in steps:
                row |= intervals.mean_interval(steps, confidence).to_row()
            rows.append(row)
    return rows


def _first_step(record: LabelRecord, scratch: LabelRecord) -> float | None:
    """The step at which the record's course reaches the goal; None if it does not."""
    goal = scratch.floor + SPEED * (scratch.value - scratch.floor)
    before = (0.0, -math.inf)
    for step, value in record.course:
        if value >= goal:
            if math.isinf(before[1]):  # at the first look already
                return float(step)
            share = (goal - before[1]) / (value - before[1])
            return before[0] + share * (step - before[0])
        before = (step, value)
    return None


def _end_of_gain(means: Mapping[int, float]) -> tuple[float | None, str]:
    counts = sorted(means)
    first = next((n for n in counts if means[n] > 0), None)
    if first is None:
        return None, "<"
    for low, high in itertools.pairwise(counts):
        if low >= first and means[low] > 0 >= means[high]:
            share = means[low] / (means[low] - means[high])
            return float(low * (high / low) ** share), ""
    return None, ">"


def _saving(found: Sequence[tuple[tuple[float, str], int]], confidence: float) -> Row:
    """Mean and interval of log2(n_scratch / n), as factors."""
    logs = [math.log2(count / labels) for (count, _), labels in found]
    marks = {mark for (_, mark), _ in found}
    told = intervals.mean_interval(logs, confidence)
    low, high = 2**told.low, 2**told.high if told.high < 1000 else math.inf
    return {
        "mean": 2**told.estimate,
        "low": 0.0 if "<" in marks else low,
        "high": math.inf if ">" in marks else high,
        "n": told.n,
        "method": told.method,
        "censored": "".join(sorted(marks - {""})),
        "seeds_censored": sum(mark != "" for (_, mark), _ in found),
    }


def _judged(gains: Sequence[float], confidence: float) -> Row:
    """The gain's interval and the verdict on "more than scratch"."""
    if len(gains) < 2:
        return {"verdict": "not testable"}
    told = intervals.mean_interval(gains, confidence)
    verdict = "inconclusive"
    if told.low > 0:
        verdict = "supported"
    elif told.high < 0:
        verdict = "refuted"
    p = intervals.p_value(gains)
    return {**_gain(gains, confidence), "p": p, "verdict": verdict}


def _gain(gains: Sequence[float], confidence: float) -> Row:
    if not gains:
        return {}
    told = intervals.mean_interval(gains, confidence)
    return {"gain_mean": told.estimate, "gain_low": told.low, "gain_high": told.high,
            "gain_n": told.n}  # fmt: skip


def _gains(arms: Arms, arm: Arm, labels: int) -> list[float]:
    """Metric less scratch's at the same n and seed; none for scratch itself."""
    if arm.recipe == SCRATCH:
        return []
    ours = arms[arm][labels]
    theirs = arms.get(_scratch(arm), {}).get(labels, {})
    return [ours[s].value - theirs[s].value for s in sorted(ours) if s in theirs]


def _heights(counts: Mapping[int, Seeds]) -> dict[int, float]:
    """Mean height over log2 n of each seed that has every n; none with a single n."""
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
    found: dict[int, dict[int, float]] = {}
    for labels, seeds in counts.items():
        for seed, record in seeds.items():
            found.setdefault(seed, {})[labels] = record.value
    return found


def _scratch(arm: Arm) -> Arm:
    return Arm(arm.architecture, "", SCRATCH)


def _about(arm: Arm, labels: int | None = None) -> Row:
    found = arm._asdict()
    return found if labels is None else found | {"labels": labels}


def _place(arm: Arm) -> tuple:
    """Scratch first, then donor by donor in the catalogue's order."""
    known = arm.recipe in RECIPES
    place = RECIPES.index(arm.recipe) if known else len(RECIPES)
    return arm.architecture, arm.donor, place, arm.recipe
