"""Which plan to take, and what it promises: nested cross-validation over summed counts.

    search = selection.Search(candidates, default, folds)
    choice = search.run(score)
    choice.abstains, choice.plan, choice.promise  # default? which plan? gain with interval

`score(name, train, test, repeat)` trains the plan on the images `train` (indices) and returns
the confusion matrix of every image in `test` [len(test), C, C]; `repeat` numbers the subsets,
the same for every plan, and serves as seed. It is never given other images than the labelled
ones, and no training is judged by an image that it saw.

With K folds there are K(K-1)/2 subsets that leave out two folds and K that leave out one. For
the outer fold k the plans are held against each other by trainings without k and another fold
j, on the images of j: so fold k has no say in what is chosen for it. The chosen plan, trained
without k, is judged on k. Summed over k that is the nested gain: what the procedure, choosing
included, is worth. Half of the pairs of folds come first; for each k the plans of the lower
half by them (without k) are not trained further: successive halving inside the training folds.

Words: the **default** is training from scratch, the one plan that needs no donor. The advisor
**abstains** (it advises the default) unless the lower end of the nested gain's 95 % interval is
above 0. Among the plans within one standard error of the best (of the paired difference), the
cheapest is taken (Breiman et al. 1984, section 3.4.3).
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
Report = Callable[[int, int, str], None]  # trainings done, in all (at most), what runs
Held = tuple[int, ...]  # the folds that a training leaves out: one or two
FEWEST = 3  # plans that halving leaves over, if there are so many


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A plan that uses a donor.

    Attributes:
        name: what `score` knows it by.
        cost: of training it, in any one unit.
    """

    name: str
    cost: float


@dataclasses.dataclass(frozen=True)
class Row:
    """A plan that was measured on all folds.

    Attributes:
        gain: over the default, on images that its trainings did not see; of all plans that
            were looked at, so the best one's is too good.
        behind: how far it is behind the best, in mean IoU.
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
    """What the search found.

    Attributes:
        plan: the plan that is advised: the default's name if the advisor abstains.
        best: the donor's plan that would be taken if one had to be.
        promise: gain of the nested procedure over the default, with its interval.
        naive: gain of `best` as the search saw it; above the promise by selection optimism.
        default: the default's name; `default_value` its mean IoU on images it did not see.
        chosen: which plan each outer fold took, and how many images it was judged on.
        rows: plans that were measured on all folds, best first.
        dropped: plans that the halving left out, with their mean IoU on the first pairs.
        trainings: how many there were.
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
        """Plain JSON, for `advice.json`."""
        told = dataclasses.asdict(self) | {
            "abstains": self.abstains,
            "optimism": self.optimism,
            "promise": self.promise.to_json(),
            "chosen": [list(one) for one in self.chosen],
        }
        told["rows"] = [
            dataclasses.asdict(row) | {"gain": row.gain.to_json(), "equal": row.equal}
            for row in self.rows
        ]
        return told


class Search:
    """One search over plans.

    Args:
        candidates: the plans that use a donor.
        default: name of the plan that does not.
        folds: int [n], the fold of each labelled image.
        units: int [n], images that belong together (one subject, one sequence) have one
            number; none: each image stands for itself. A unit lies in one fold.
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
        self.costs = {one.name: one.cost for one in candidates}
        self._counts: dict[tuple[str, Held], np.ndarray] = {}

    @property
    def most(self) -> int:
        """How many trainings there are if halving drops as few as it can."""
        return most_trainings(len(self.costs), self.count)

    def run(self, score: Score, report: Report = lambda done, most, text: None):
        """Trains what is needed through `score` and decides. Gives a `Choice`."""
        self._score, self._report = score, report
        names, folds = list(self.costs), range(self.count)
        first, second = _rounds(self.count)
        for pair in first:
            self._train(names, pair)
        alive = {k: self._better_half(names, first, k) for k in folds}
        for pair in second:
            kept = [name for name in names if any(name in alive[k] for k in pair)]
            self._train(kept, pair)
        chosen = {
            k: self._take(alive[k], self._inner([*first, *second], k)) for k in folds
        }
        finalists = set(self._better_half(names, first)) | set(chosen.values())
        finalists = [name for name in names if name in finalists]
        for k in folds:
            self._train([self.default, *finalists], (k,))
        dropped = {
            name: metrics.mean_iou(
                sum(self._of(name, p, k).sum(0) for p in first for k in p)
            )
            for name in names
            if name not in finalists
        }
        return self._decide(finalists, chosen, dropped)

    def _decide(self, finalists: list[str], chosen: dict[int, str], dropped) -> Choice:
        default = self._whole(dict.fromkeys(range(self.count), self.default))
        nested = self._whole(chosen)
        promise = gains.gain(nested, default, self.units, self.folds)
        rows = self._rows(finalists, default)
        best = self._cheapest(rows)
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
        whole = {
            name: self._whole(dict.fromkeys(range(self.count), name)) for name in names
        }
        gain = {
            name: gains.gain(counts, default, self.units, self.folds)
            for name, counts in whole.items()
        }
        order = sorted(names, key=lambda name: -gain[name].estimate)
        rows = []
        for name in order:
            behind = gains.standard_error(whole[order[0]], whole[name], self.units)
            value = metrics.mean_iou(whole[name].sum(0))
            rows.append(Row(name, self.costs[name], value, gain[name], *behind))
        return rows

    def _take(self, names: Sequence[str], inner: "Inner") -> str:
        """The cheapest of the equals by the counts of trainings that left fold k out."""
        counts = {
            name: np.concatenate([self._of(name, *at) for at in inner])
            for name in names
        }
        units = np.concatenate([self.units[self.folds == j] for _, j in inner])
        order = sorted(names, key=lambda name: -metrics.mean_iou(counts[name].sum(0)))
        near = [order[0]]
        for name in order[1:]:
            behind, error = gains.standard_error(counts[order[0]], counts[name], units)
            if behind <= error:
                near.append(name)
        return min(near, key=lambda name: self.costs[name])  # of equal cost the better

    @staticmethod
    def _cheapest(rows: Sequence[Row]) -> Row:
        return min((row for row in rows if row.equal), key=lambda row: row.cost)

    def _better_half(
        self, names: Sequence[str], pairs: Sequence[Held], without: int | None = None
    ) -> list[str]:
        """The better half of the plans by trainings on these pairs, judged without a fold."""
        if without is None:
            places = [(pair, k) for pair in pairs for k in pair]
        else:
            places = self._inner(pairs, without)
        value = {
            name: metrics.mean_iou(sum(self._of(name, *at).sum(0) for at in places))
            for name in names
        }
        keep = max(FEWEST, math.ceil(len(names) / 2))
        best = sorted(names, key=lambda name: -value[name])[:keep]
        return [name for name in names if name in best]

    @staticmethod
    def _inner(pairs: Sequence[Held], outer: int) -> "Inner":
        """The pairs that leave `outer` out, with the fold that each may be judged on for it."""
        return [
            (pair, next(k for k in pair if k != outer))
            for pair in pairs
            if outer in pair
        ]

    def _train(self, names: Sequence[str], held: Held) -> None:
        """Lets `score` train the plans without these folds, and keeps what they counted."""
        out = np.isin(self.folds, held)
        repeat = [*_rounds(self.count)[0], *_rounds(self.count)[1]]
        repeat += [(k,) for k in range(self.count)]
        for name in names:
            self._report(len(self._counts), self.most, f"{name}, {_told(held)}")
            counts = self._score(
                name, np.flatnonzero(~out), np.flatnonzero(out), repeat.index(held)
            )
            self._counts[name, held] = np.asarray(counts)

    def _of(self, name: str, held: Held, fold: int) -> np.ndarray:
        """Counts of the images of `fold` by the training without the folds `held`."""
        places = self.folds[np.isin(self.folds, held)]
        return self._counts[name, held][places == fold]

    def _whole(self, names: Mapping[int, str]) -> np.ndarray:
        """Counts [n, C, C] of every image by the plan that its fold names, trained without it."""
        parts = {k: self._of(name, (k,), k) for k, name in names.items()}
        result = np.zeros((len(self.folds), *parts[0].shape[1:]), parts[0].dtype)
        for k, part in parts.items():
            result[self.folds == k] = part
        return result


Inner = list[tuple[Held, int]]


def most_trainings(plans: int, folds: int) -> int:
    """How many trainings a search has, the default's included, if halving keeps half.

    Folds may keep different halves, so it can be a few more.
    """
    first, second = _rounds(folds)
    kept = min(plans, max(FEWEST, math.ceil(plans / 2)))
    return plans * len(first) + kept * len(second) + (kept + 1) * folds


def _rounds(folds: int) -> tuple[list[Held], list[Held]]:
    """Pairs of folds: a ring, in which each fold has two partners; then all the others."""
    pairs = list(itertools.combinations(range(folds), 2))
    ring = [(k, k + 1) for k in range(folds - 1)] + [(0, folds - 1)]
    return ring, [pair for pair in pairs if pair not in ring]


def _told(held: Held) -> str:
    words = " and ".join(str(k + 1) for k in held)
    return f"without fold{'s' * (len(held) > 1)} {words}"
