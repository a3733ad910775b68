"""Selects a plan and estimates its gain: nested cross-validation over summed counts.

    search = selection.Search(candidates, default, folds)
    choice = search.run(score)
    choice.abstains, choice.plan, choice.promise  # default? which plan? gain with interval

`score(name, train, test, repeat)` trains the plan on the images `train` (indices) and returns
the confusion matrix of every image in `test` [len(test), C, C]; `repeat` numbers the subsets,
the same for every plan, and serves as seed. It sees only the labelled images, and no training is
evaluated on an image that it was trained on.

With K folds there are K(K-1)/2 subsets that leave out two folds and K that leave out one. For
the outer fold k the plans are compared by trainings without k and another fold j, on the images
of j: so fold k has no influence on the plan chosen for it. The chosen plan, trained without k, is
evaluated on k. Summed over k that is the nested gain: the gain of the procedure, its selection
included. Half of the pairs of folds come first; for each k the plans of the lower half by them
(without k) are not trained further: successive halving inside the training folds.

Words: the **default** is training from scratch, the one plan that needs no donor. The advisor
**abstains** (it advises the default) unless the lower end of the nested gain's 95 % interval is
above 0. Among the plans within one standard error of the best (of the paired difference), the
cheapest is selected (Breiman et al. 1984, section 3.4.3).
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfreuse.advisor import gains
from tfreuse.analysis import intervals, metrics

Score = Callable[[str, np.ndarray, np.ndarray, int], np.ndarray]
Report = Callable[
    [int, int, str], None
]  # trainings done, their number at most, current one
LeftOut = tuple[int, ...]  # the folds that a training leaves out: one or two
Evaluations = list[
    tuple[LeftOut, int]
]  # trainings, each with the fold that it is evaluated on
FEWEST = 3  # plans that halving leaves, if there are as many


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A plan that uses a donor.

    Attributes:
        name: passed to `score`.
        cost: of training it; any unit, the same for all.
    """

    name: str
    cost: float


@dataclasses.dataclass(frozen=True)
class Row:
    """A plan that was evaluated on all folds.

    Attributes:
        value: mean IoU on images that its trainings did not see.
        gain: over the default, on the same images. The best of all plans was selected by it,
            so the gain of the best is optimistic.
        behind: difference to the best, in mean IoU.
        error: standard error of `behind`.
    """

    name: str
    cost: float
    value: float
    gain: intervals.Interval
    behind: float
    error: float

    @property
    def equal(self) -> bool:
        """Whether it is within one standard error of the best."""
        return self.behind <= self.error


@dataclasses.dataclass(frozen=True)
class Choice:
    """The outcome of a search.

    Attributes:
        plan: the plan that is advised: the default's name if the advisor abstains.
        best: the donor's plan to take if one had to be taken.
        promise: gain of the nested procedure over the default, with its interval.
        naive: gain of `best` as the search saw it; above the promise by selection optimism.
        default: the default's name.
        default_value: the default's mean IoU on images that its trainings did not see.
        chosen: the plan that each outer fold chose, and the number of images it was evaluated on.
        rows: plans that were evaluated on all folds, best first.
        dropped: plans that the halving dropped, with their mean IoU on the first pairs.
        trainings: number of trainings.
    """

    plan: str
    best: str
    promise: intervals.Interval
    naive: float
    default: str
    default_value: float
    chosen: tuple[tuple[str, int], ...]
    rows: tuple[Row, ...]
    dropped: Mapping[str, float]
    trainings: int

    @property
    def abstains(self) -> bool:
        return self.plan == self.default

    @property
    def optimism(self) -> float:
        return self.naive - self.promise.estimate

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON, for `advice.json`."""
        values = dataclasses.asdict(self) | {
            "abstains": self.abstains,
            "optimism": self.optimism,
            "promise": self.promise.to_json(),
            "chosen": [list(pair) for pair in self.chosen],
        }
        values["rows"] = [
            dataclasses.asdict(row) | {"gain": row.gain.to_json(), "equal": row.equal}
            for row in self.rows
        ]
        return values


class Search:
    """A search over plans.

    Args:
        candidates: the plans that use a donor.
        default: name of the plan that does not.
        folds: int [n], the fold of each labelled image.
        units: int [n], images that belong together (one subject, one sequence) have the same
            number; None: each image is a unit. A unit lies in one fold.

    Raises:
        ValueError: fewer than three folds, or a unit in more than one fold.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        default: str,
        folds: np.ndarray,
        units: np.ndarray | None = None,
    ) -> None:
        self.folds = np.asarray(folds)
        self.units = np.arange(len(folds)) if units is None else np.asarray(units)
        self.count = int(self.folds.max()) + 1
        if self.count < 3:
            raise ValueError(f"Nested folds need three or more; got {self.count}.")
        for unit in np.unique(self.units):
            if len(np.unique(self.folds[self.units == unit])) > 1:
                raise ValueError(f"Unit {unit} lies in more than one fold.")
        self.default = default
        self.costs = {plan.name: plan.cost for plan in candidates}
        self._counts: dict[tuple[str, LeftOut], np.ndarray] = {}

    def run(
        self, score: Score, report: Report = lambda done, most, text: None
    ) -> Choice:
        """Trains as many plans as the decision needs, through `score`, and decides."""
        self._score, self._report = score, report
        names, folds = list(self.costs), range(self.count)
        first, second = _rounds(self.count)
        for pair in first:
            self._train(names, pair)
        survivors = {k: self._better_half(names, first, k) for k in folds}
        for pair in second:
            plans = [name for name in names if any(name in survivors[k] for k in pair)]
            self._train(plans, pair)
        chosen = {
            k: self._select(survivors[k], _evaluations([*first, *second], k))
            for k in folds
        }
        finalists = set(self._better_half(names, first)) | set(chosen.values())
        finalists = [name for name in names if name in finalists]
        for k in folds:
            self._train([self.default, *finalists], (k,))
        dropped = {
            name: self._mean_iou(name, [(pair, k) for pair in first for k in pair])
            for name in names
            if name not in finalists
        }
        return self._decide(finalists, chosen, dropped)

    def _decide(
        self,
        finalists: list[str],
        chosen: Mapping[int, str],
        dropped: Mapping[str, float],
    ) -> Choice:
        default = self._outer_counts(dict.fromkeys(range(self.count), self.default))
        nested = self._outer_counts(chosen)
        promise = gains.gain(nested, default, self.units, self.folds)
        rows = self._rows(finalists, default)
        best = min((row for row in rows if row.equal), key=lambda row: row.cost)
        return Choice(
            plan=best.name if promise.low > 0 else self.default,
            best=best.name,
            promise=promise,
            naive=best.gain.estimate,
            default=self.default,
            default_value=metrics.mean_iou(default.sum(0)),
            chosen=tuple((chosen[k], int((self.folds == k).sum())) for k in chosen),
            rows=tuple(rows),
            dropped=dropped,
            trainings=len(self._counts),
        )

    def _rows(self, names: Sequence[str], default: np.ndarray) -> list[Row]:
        """Evaluates the plans on all folds, best first."""
        counts = {
            name: self._outer_counts(dict.fromkeys(range(self.count), name))
            for name in names
        }
        gain = {
            name: gains.gain(counts[name], default, self.units, self.folds)
            for name in names
        }
        order = sorted(names, key=lambda name: -gain[name].estimate)
        best = counts[order[0]]
        rows = []
        for name in order:
            behind = gains.standard_error(best, counts[name], self.units)
            value = metrics.mean_iou(counts[name].sum(0))
            rows.append(Row(name, self.costs[name], value, gain[name], *behind))
        return rows

    def _select(self, names: Sequence[str], evaluations: Evaluations) -> str:
        """Returns the cheapest plan within one standard error of the best."""
        counts = {
            name: np.concatenate(
                [self._fold_counts(name, *evaluation) for evaluation in evaluations]
            )
            for name in names
        }
        units = np.concatenate([self.units[self.folds == j] for _, j in evaluations])
        order = sorted(names, key=lambda name: -metrics.mean_iou(counts[name].sum(0)))
        equals = [order[0]]
        for name in order[1:]:
            behind, error = gains.standard_error(counts[order[0]], counts[name], units)
            if behind <= error:
                equals.append(name)
        return min(
            equals, key=lambda name: self.costs[name]
        )  # of equal cost the better

    def _better_half(
        self, names: Sequence[str], pairs: Sequence[LeftOut], outer: int | None = None
    ) -> list[str]:
        """Returns the better half of the plans, without any influence of the fold `outer`."""
        evaluations = [(pair, k) for pair in pairs for k in pair]
        if outer is not None:
            evaluations = _evaluations(pairs, outer)
        values = {name: self._mean_iou(name, evaluations) for name in names}
        size = max(FEWEST, math.ceil(len(names) / 2))
        best = sorted(names, key=lambda name: -values[name])[:size]
        return [name for name in names if name in best]

    def _mean_iou(self, name: str, evaluations: Evaluations) -> float:
        return metrics.mean_iou(
            sum(
                self._fold_counts(name, *evaluation).sum(0)
                for evaluation in evaluations
            )
        )

    def _train(self, names: Sequence[str], left_out: LeftOut) -> None:
        """Trains the plans without these folds, through `score`, and stores the counts."""
        test = np.isin(self.folds, left_out)
        # A subset has the same number for every plan, hence the same seed: plans are paired.
        subsets = [*itertools.chain(*_rounds(self.count))]
        subsets += [(k,) for k in range(self.count)]
        folds = " and ".join(str(k + 1) for k in left_out)
        for name in names:
            text = f"{name}, without fold{'s' * (len(left_out) > 1)} {folds}"
            self._report(
                len(self._counts), most_trainings(len(self.costs), self.count), text
            )
            counts = self._score(
                name,
                np.flatnonzero(~test),
                np.flatnonzero(test),
                subsets.index(left_out),
            )
            self._counts[name, left_out] = np.asarray(counts)

    def _fold_counts(self, name: str, left_out: LeftOut, fold: int) -> np.ndarray:
        """Returns the counts of the images of `fold` by the training without `left_out`."""
        folds = self.folds[np.isin(self.folds, left_out)]
        return self._counts[name, left_out][folds == fold]

    def _outer_counts(self, names: Mapping[int, str]) -> np.ndarray:
        """Returns the counts [n, C, C] of every image by a training without its fold.

        Args:
            names: the plan for each fold.
        """
        parts = {k: self._fold_counts(name, (k,), k) for k, name in names.items()}
        counts = np.zeros((len(self.folds), *parts[0].shape[1:]), parts[0].dtype)
        for k, part in parts.items():
            counts[self.folds == k] = part
        return counts


def most_trainings(plans: int, folds: int) -> int:
    """Returns the number of trainings of a search if every fold keeps the same half of the plans.

    The default's are included. Folds may keep different halves, so it can be a few more.
    """
    first, second = _rounds(folds)
    survivors = min(plans, max(FEWEST, math.ceil(plans / 2)))
    return plans * len(first) + survivors * len(second) + (survivors + 1) * folds


def _evaluations(pairs: Sequence[LeftOut], outer: int) -> Evaluations:
    """Returns the pairs that leave `outer` out, each with its other fold."""
    return [
        (pair, next(k for k in pair if k != outer)) for pair in pairs if outer in pair
    ]


def _rounds(folds: int) -> tuple[list[LeftOut], list[LeftOut]]:
    """Returns the pairs of folds of the first round, and those of the second.

    The first is a ring, in which each fold has two partners; the second has all other pairs.
    """
    pairs = list(itertools.combinations(range(folds), 2))
    ring = [(k, k + 1) for k in range(folds - 1)] + [(0, folds - 1)]
    return ring, [pair for pair in pairs if pair not in ring]
