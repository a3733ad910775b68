"""What can be told of a kernel before it is moved: does closeness predict retention?

    cells = columns_by_seed(arms, "layer")
    found = measures(cells, "-rmse", margin=0.05)
    intervals.mean_interval(found["spearman"])  # one rank correlation a seed

Seeds are the replicates, layers are not: a measure is computed within each seed and the interval
is over seeds (cluster-wise estimates: Ibragimov & Mueller 2010), which holds for few clusters,
where a bootstrap of clusters does not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfreuse import specs
from tfreuse.analysis.arms import Arms, Part, floored_retentions, with_intervals
from tfreuse.records import Record

Columns = dict[str, np.ndarray]  # [sites] each, in one order
Table = dict[int, Columns]  # by seed

# Larger where donor and recipient are closer, so that a good predictor has rho > 0.
PREDICTORS = (
    "-rmse", "-relative_distance", "cosine", "-z_rmse", "cka", "-output_error",
)  # fmt: skip
BASELINE = "depth+size"  # what is known without looking at a donor, as these columns:
# retention may rise and fall with depth, so that a straight line leaves some of it to what
# happens to grow with depth too
KNOWN = ("depth", "bow", "size")
FEWEST_SITES = 4


def rows(arms: Arms, spec: specs.StudySpec) -> list[dict[str, Any]]:
    """How well each predictor tells which kernels can be reused, at single layers and stages.

    The cells are the treatment's, group kernel, without repair; retentions below 0 count as 0.
    Within every seed, over its layers (or stages):

        spearman  rank correlation of predictor and retention
        partial   the same after the ranks of depth, of its squared distance from the middle
                  and of size (numbers moved) were regressed out of both: above 0 where the
                  predictor adds to them
        auroc     of "retention >= 1 - margin" in this seed, by a logistic rule learned from
                  all other seeds; 0.5 is a coin. Seeds with only one class have none
        gain      auroc with depth, size and predictor, less that with depth and size

    -z_rmse is -(RMSE - mean) / sd, by the RMSE of donors of the same task and another seed at
    that site. A predictor that was not recorded gives no row.

    Returns:
        rows of site_kind, site "", depth -1, group "kernel", repair "none", predictor (one of
        PREDICTORS, or "depth+size" with its auroc), quantity, sites, mean, low, high, n,
        method over seeds.
    """
    pending = []
    for kind in ("layer", "stage"):
        cells = columns_by_seed(arms, kind)
        if not cells:
            continue
        sites = max(len(columns["retention"]) for columns in cells.values())
        row = {"site_kind": kind, "site": "", "depth": -1, "group": "kernel"}
        row |= {"repair": "none", "sites": sites}
        base = held_out_aurocs(cells, KNOWN, spec.margin)
        found = {BASELINE: {"auroc": list(base.values())}}
        found |= {name: measures(cells, name, spec.margin) for name in PREDICTORS}
        for name, told in found.items():
            for quantity, values in told.items():
                if len(values):
                    named = {"predictor": name, "quantity": quantity}
                    pending.append((row | named, values))
    return with_intervals(pending, spec.confidence)


def across_architectures(
    parts: Mapping[Part, Arms], spec: specs.StudySpec
) -> list[dict[str, Any]]:
    """Each predictor's rule learned from all other architectures, tried on the one left out.

    A threshold may be told only where it survives this. `auroc` is as in `predictors`;
    `balanced_accuracy` is the mean of both classes' hit rates with the threshold that was best
    (Youden 1950) for the other architectures.

    Returns:
        rows as of `predictors`, with architecture (the one left out), direction, link and
        threshold (of the predictor as named; None for auroc); none where a direction and link
        have a single architecture.
    """
    pending = []
    for kind in ("layer", "stage"):
        cells = {part: columns_by_seed(arms, kind) for part, arms in parts.items()}
        for part, tried in cells.items():
            others = [
                columns
                for other, seeds in cells.items()
                if other.architecture != part.architecture and other[1:] == part[1:]
                for columns in seeds.values()
            ]
            row = {"site_kind": kind, "site": "", "depth": -1, "group": "kernel"}
            row |= {"repair": "none", **part._asdict()}
            for name in PREDICTORS:
                for named, values in _tried(tried, others, name, spec.margin):
                    pending.append((row | {"predictor": name} | named, values))
    return with_intervals(pending, spec.confidence)


def columns_by_seed(arms: Arms, kind: str, retained=floored_retentions) -> Table:
    """Retention, what is known (KNOWN) and every predictor, by seed and site.

    Depth is relative to the deepest site, size the log10 of the numbers moved.

    Seeds with under FEWEST_SITES sites are left out; what was not recorded is not a number.
    """
    found: dict[int, list[dict[str, float]]] = {}
    for arm, seeds in arms.items():
        if arm[:2] != ("transfer", kind) or arm[3:] != ("kernel", "none", 1.0, 0):
            continue
        null = _null(arms.get(arm._replace(control="other_seed"), {}))
        values = retained(seeds)
        for seed, value in values.items():
            cell = _features(seeds[seed], null) | {"retention": value}
            found.setdefault(seed, []).append(cell)
    columns = {
        seed: {name: np.array([cell[name] for cell in cells]) for name in cells[0]}
        for seed, cells in sorted(found.items())
        if len(cells) >= FEWEST_SITES
    }
    for one in columns.values():
        one["depth"] = one["depth"] / max(1.0, one["depth"].max())
        one["bow"] = (one["depth"] - one["depth"].mean()) ** 2
    return columns


def measures(cells: Table, name: str, margin: float) -> dict[str, list[float]]:
    """What `predictors` tells of one predictor: a number a seed where it is defined."""
    cells = _with(cells, name)
    without = held_out_aurocs(cells, KNOWN, margin)
    together = held_out_aurocs(cells, (*KNOWN, name), margin)
    return {
        "spearman": correlations(cells, name),
        "partial": correlations(cells, name, KNOWN),
        "auroc": list(held_out_aurocs(cells, (name,), margin).values()),
        "gain": [
            together[seed] - value
            for seed, value in without.items()
            if seed in together
        ],
    }


def correlations(cells: Table, name: str, known: Sequence[str] = ()) -> list[float]:
    """`spearman` of a predictor and retention in each seed where it is defined."""
    found = [
        spearman(one[name], one["retention"], [one[key] for key in known])
        for one in _with(cells, name).values()
    ]
    return [value for value in found if value is not None]


def _with(cells: Table, name: str) -> Table:
    """The seeds with enough sites at which the predictor was recorded, and these sites."""
    kept = {seed: _complete(columns, name) for seed, columns in cells.items()}
    return {
        seed: columns
        for seed, columns in kept.items()
        if len(columns["retention"]) >= FEWEST_SITES
    }


def spearman(
    first: np.ndarray, second: np.ndarray, known: Sequence[np.ndarray] = ()
) -> float | None:
    """Rank correlation over [sites], what ranks of `known` explain taken out of both.

    0 where `known` explains all of a side: there is nothing to add. None where a side does not
    vary, or fewer than three sites are left over by the regression.
    """
    from scipy import stats  # here, so that `--help` need not wait for it

    design = [np.ones(len(first)), *(stats.rankdata(one) for one in known)]
    if len(first) < len(design) + 3 or not (np.ptp(first) and np.ptp(second)):
        return None
    design = np.stack(design, axis=1)
    sides = np.stack([stats.rankdata(first), stats.rankdata(second)], axis=1)
    left = sides - design @ np.linalg.lstsq(design, sides, rcond=None)[0]
    norms = np.linalg.norm(left, axis=0)
    if norms.min() < 1e-9 * len(first):
        return 0.0
    return float(np.clip(left[:, 0] @ left[:, 1] / norms.prod(), -1, 1))


def auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Chance that a positive scores above a negative, ties half; None without both kinds."""
    from scipy import stats

    hits, misses = positive.sum(), (~positive).sum()
    if not hits or not misses:
        return None
    above = stats.rankdata(scores)[positive].sum() - hits * (hits + 1) / 2
    return float(above / (hits * misses))


def held_out_aurocs(
    cells: Table, names: Sequence[str], margin: float
) -> dict[int, float]:
    """AUROC of each seed by the logistic rule that all other seeds teach."""
    found = {}
    for seed, columns in cells.items():
        others = [other for key, other in cells.items() if key != seed]
        score = _tried_once(columns, others, names, margin)
        if score is not None:
            found[seed] = score
    return found


def _tried_once(
    columns: Columns, others: Sequence[Columns], names: Sequence[str], margin: float
) -> float | None:
    if not others:
        return None
    x, y = _pooled(others, names, margin)
    if y.all() or not y.any():
        return None
    tested, truth = _pooled([columns], names, margin)
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-12] = 1.0
    weights = _logistic((x - centre) / scale, y)
    # rounded, so that sites that are alike tie
    return auroc(np.round((tested - centre) / scale @ weights, 9), truth)


def _logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights [columns] of a logistic regression with ridge 1, by Newton's method."""
    x = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    ridge = np.eye(x.shape[1])
    ridge[0, 0] = 1e-6  # the intercept is free
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (p - y) + ridge @ weights
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + ridge, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return weights[1:]


def _tried(cells: Table, others: Sequence[Columns], name: str, margin: float):
    """What `across` tells of one predictor at the architecture left out."""
    others = [_complete(one, name) for one in others]
    others = [one for one in others if len(one["size"])]
    tested = [_complete(one, name) for one in cells.values()]
    tested = [one for one in tested if len(one["size"])]
    if not others or not tested:
        return
    scores = [_tried_once(one, others, (name,), margin) for one in tested]
    yield {"quantity": "auroc", "threshold": None}, [s for s in scores if s is not None]
    threshold = _threshold(*_pooled(others, (name,), margin))
    if threshold is not None:
        right = [
            _balanced(one[name] >= threshold, one["retention"] >= 1 - margin)
            for one in tested
        ]
        named = {"quantity": "balanced_accuracy", "threshold": threshold}
        yield named, [value for value in right if value is not None]


def _threshold(x: np.ndarray, y: np.ndarray) -> float | None:
    """The value from which on to say "can be reused" for the best balanced accuracy."""
    values = np.unique(x[:, 0])
    if y.all() or not y.any():
        return None
    return float(max(values, key=lambda value: _balanced(x[:, 0] >= value, y)))


def _balanced(said: np.ndarray, truth: np.ndarray) -> float | None:
    if truth.all() or not truth.any():
        return None
    return float((said[truth].mean() + (~said[~truth]).mean()) / 2)


def _features(record: Record, null: tuple[float, float] | None) -> dict[str, float]:
    """Everything known of a cell but its outcome; not a number where it was not recorded."""

    def known(value: float | None, sign: int = 1) -> float:
        return float("nan") if value is None else sign * value

    z = None if null is None else (record.rmse - null[0]) / null[1]
    return {
        "depth": float(record.depth),
        "size": float(np.log10(max(record.parameters, 1))),
        "-rmse": -record.rmse,
        "-relative_distance": known(record.relative_distance, -1),
        "cosine": known(record.cosine),
        "-z_rmse": known(z, -1),
        "cka": known(record.cka),
        "-output_error": known(record.output_error, -1),
    }


def _null(records: Mapping[int, Record]) -> tuple[float, float] | None:
    """Mean and sd of the RMSE between networks of the same task; None without three seeds."""
    values = [record.rmse for record in records.values()]
    if len(values) < 3 or np.ptp(values) <= 1e-12 * max(values):
        return None
    return float(np.mean(values)), float(np.std(values, ddof=1))


def _complete(columns: Columns, name: str) -> Columns:
    """The sites at which the predictor was recorded."""
    kept = np.isfinite(columns[name])
    return {key: values[kept] for key, values in columns.items()}


def _pooled(
    found: Sequence[Columns], names: Sequence[str], margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Features [sites, names] and whether each site's kernels can be reused [sites]."""
    x = [np.stack([columns[name] for name in names], axis=1) for columns in found]
    y = [columns["retention"] >= 1 - margin for columns in found]
    return np.concatenate(x), np.concatenate(y)
