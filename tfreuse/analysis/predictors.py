"""Tests whether closeness predicts retention: measures of kernels known before they are moved.

    cells = columns_by_seed(arms, "layer")
    by_measure = measures(cells, "-rmse", margin=0.05)
    intervals.mean_interval(by_measure["spearman"])  # one rank correlation a seed

Seeds are the replicates, layers are not: a measure is computed within each seed and the interval
is over seeds (cluster-wise estimates: Ibragimov & Mueller 2010). That holds for few clusters,
where a bootstrap of clusters does not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tfreuse import specs
from tfreuse.analysis import Row
from tfreuse.analysis.arms import Arms, Part, Values, floored_retentions, with_intervals
from tfreuse.analysis.bounded import DIFFERENCE, RETENTION
from tfreuse.records import Record

Columns = dict[str, np.ndarray]  # name -> [sites], the same sites in each
Table = dict[int, Columns]  # by seed

# Larger where donor and recipient are closer, so that a good predictor has rho > 0.
PREDICTORS = (
    "-rmse", "-relative_distance", "cosine", "-z_rmse", "cka", "-output_error",
)  # fmt: skip
BASELINE = "depth+size"  # the predictor made of COVARIATES
# Known without looking at a donor. "bow" is the squared distance from the middle: retention may
# rise and fall with depth, and a straight line would credit a predictor that does so too.
COVARIATES = ("depth", "bow", "size")
FEWEST_SITES = 4
BOUNDS = dict.fromkeys(("spearman", "partial", "gain"), DIFFERENCE)  # of one seed
BOUNDS |= dict.fromkeys(("auroc", "balanced_accuracy"), RETENTION)


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Measures how well each predictor finds the kernels that can be reused at single sites.

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
        baseline = held_out_aurocs(cells, COVARIATES, spec.margin)
        by_predictor = {BASELINE: {"auroc": list(baseline.values())}}
        for name in PREDICTORS:
            by_predictor[name] = measures(cells, name, spec.margin)
        for name, by_quantity in by_predictor.items():
            for quantity, values in by_quantity.items():
                columns = {"predictor": name, "quantity": quantity}
                pending.append((row | columns, values))
    return with_intervals(pending, spec.confidence, BOUNDS)


def across_architectures(
    parts: Mapping[Part, Arms], spec: specs.StudySpec
) -> list[Row]:
    """Tests each predictor's rule, learned from all other architectures, on the one left out.

    A threshold may be published only where it survives this. `auroc` is as in `rows`;
    `balanced_accuracy` is the mean of both classes' hit rates with the threshold that was best
    (Youden 1950) for the other architectures.

    Returns:
        rows as of `rows`, with architecture (the one left out), direction, link and
        threshold (of the predictor as named; None for auroc); none where a direction and link
        have a single architecture.
    """
    pending = []
    for kind in ("layer", "stage"):
        cells = {part: columns_by_seed(arms, kind) for part, arms in parts.items()}
        for part, tested in cells.items():
            training = [
                columns
                for peer, seeds in cells.items()
                if peer.architecture != part.architecture and peer[1:] == part[1:]
                for columns in seeds.values()
            ]
            row = {"site_kind": kind, "site": "", "depth": -1, "group": "kernel"}
            row |= {"repair": "none", **part._asdict()}
            for name in PREDICTORS:
                for columns, values in _transferred(
                    tested, training, name, spec.margin
                ):
                    pending.append((row | {"predictor": name} | columns, values))
    return with_intervals(pending, spec.confidence, BOUNDS)


def columns_by_seed(
    arms: Arms,
    kind: str,
    retentions: Callable[[Mapping[int, Record]], Values] = floored_retentions,
) -> Table:
    """Returns retention, COVARIATES and every predictor by seed, each [sites].

    Depth is relative to the deepest site, size the log10 of the numbers moved. NaN where a
    predictor was not recorded. Seeds with fewer than FEWEST_SITES sites are left out.
    """
    cells: dict[int, list[dict[str, float]]] = {}
    for arm, seeds in arms.items():
        if arm[:2] != ("transfer", kind) or arm[3:] != ("kernel", "none", 1.0, 0):
            continue
        null = _null(arms.get(arm._replace(control="other_seed"), {}))
        for seed, retention in retentions(seeds).items():
            cell = _features(seeds[seed], null) | {"retention": retention}
            cells.setdefault(seed, []).append(cell)
    table = {
        seed: {name: np.array([cell[name] for cell in sites]) for name in sites[0]}
        for seed, sites in sorted(cells.items())
        if len(sites) >= FEWEST_SITES
    }
    for columns in table.values():
        columns["depth"] /= max(1.0, columns["depth"].max())
        columns["bow"] = (columns["depth"] - columns["depth"].mean()) ** 2
    return table


def measures(cells: Table, name: str, margin: float) -> dict[str, list[float]]:
    """Computes the quantities of `rows` for one predictor: a number a seed that has one."""
    cells = _recorded(cells, name)
    without = held_out_aurocs(cells, COVARIATES, margin)
    together = held_out_aurocs(cells, (*COVARIATES, name), margin)
    return {
        "spearman": correlations(cells, name),
        "partial": correlations(cells, name, COVARIATES),
        "auroc": list(held_out_aurocs(cells, (name,), margin).values()),
        "gain": [
            together[seed] - auroc
            for seed, auroc in without.items()
            if seed in together
        ],
    }


def correlations(
    cells: Table, name: str, covariates: Sequence[str] = ()
) -> list[float]:
    """Returns `spearman` of a predictor and retention in each seed where it is defined."""
    values = [
        spearman(
            columns[name],
            columns["retention"],
            [columns[covariate] for covariate in covariates],
        )
        for columns in _recorded(cells, name).values()
    ]
    return [value for value in values if value is not None]


def _recorded(cells: Table, name: str) -> Table:
    """Keeps the sites where the predictor was recorded, and the seeds with enough of them."""
    table = {seed: _finite_sites(columns, name) for seed, columns in cells.items()}
    return {
        seed: columns
        for seed, columns in table.items()
        if len(columns["retention"]) >= FEWEST_SITES
    }


def spearman(
    first: np.ndarray, second: np.ndarray, covariates: Sequence[np.ndarray] = ()
) -> float | None:
    """Computes the rank correlation over [sites], the ranks of covariates regressed out.

    0 where the covariates explain all of a side: there is nothing to add. None where a side
    does not vary, or the regression leaves fewer than three degrees of freedom.
    """
    design = [np.ones(len(first)), *map(_ranks, covariates)]
    if len(first) < len(design) + 3 or not (np.ptp(first) and np.ptp(second)):
        return None
    design = np.stack(design, axis=1)  # [sites, 1 + covariates]
    sides = np.stack([_ranks(first), _ranks(second)], axis=1)
    residuals = sides - design @ np.linalg.lstsq(design, sides, rcond=None)[0]
    norms = np.linalg.norm(residuals, axis=0)
    if norms.min() < 1e-9 * len(first):
        return 0.0
    return float(np.clip(residuals[:, 0] @ residuals[:, 1] / norms.prod(), -1, 1))


def auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Computes the chance, over [sites], that a positive scores above a negative; ties half.

    None without both classes.
    """
    hits, misses = positive.sum(), (~positive).sum()
    if not hits or not misses:
        return None
    above = _ranks(scores)[positive].sum() - hits * (hits + 1) / 2
    return float(above / (hits * misses))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns the ranks, from 1, of values [n]; ties have their mean rank.

    `scipy.stats.rankdata` gives the same and takes a second to import.
    """
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[index]


def held_out_aurocs(
    cells: Table, names: Sequence[str], margin: float
) -> dict[int, float]:
    """Returns the AUROC of each seed by the logistic rule learned from all other seeds."""
    aurocs = {}
    for seed, columns in cells.items():
        training = [peer for key, peer in cells.items() if key != seed]
        score = _held_out_auroc(columns, training, names, margin)
        if score is not None:
            aurocs[seed] = score
    return aurocs


def _held_out_auroc(
    tested: Columns, training: Sequence[Columns], names: Sequence[str], margin: float
) -> float | None:
    if not training:
        return None
    x, y = _pooled(training, names, margin)
    if y.all() or not y.any():
        return None
    tested_x, tested_y = _pooled([tested], names, margin)
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-12] = 1.0
    weights = _logistic((x - centre) / scale, y)
    # rounded, so that sites that are alike tie
    return auroc(np.round((tested_x - centre) / scale @ weights, 9), tested_y)


def _logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fits a logistic regression with ridge 1 by Newton's method; returns weights [columns]."""
    x = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    ridge = np.eye(x.shape[1])
    ridge[0, 0] = 1e-6  # the intercept is free
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (p - y) + ridge @ weights
        hessian = (x.T * (p * (1 - p))) @ x + ridge
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return weights[1:]  # AUROC depends on the order of scores alone: no intercept


def _transferred(
    cells: Table, training: Sequence[Columns], name: str, margin: float
) -> Iterator[tuple[Row, list[float]]]:
    """Yields quantity and threshold, with a value a seed, of a rule from other architectures."""
    training, tested = (
        [
            finite
            for columns in group
            if len((finite := _finite_sites(columns, name))["size"])
        ]
        for group in (training, cells.values())
    )
    if not training or not tested:
        return
    scores = [_held_out_auroc(seed, training, (name,), margin) for seed in tested]
    yield {"quantity": "auroc", "threshold": None}, [s for s in scores if s is not None]
    threshold = _threshold(*_pooled(training, (name,), margin))
    if threshold is not None:
        accuracies = [
            _balanced_accuracy(seed[name] >= threshold, seed["retention"] >= 1 - margin)
            for seed in tested
        ]
        columns = {"quantity": "balanced_accuracy", "threshold": threshold}
        yield columns, [value for value in accuracies if value is not None]


def _threshold(x: np.ndarray, y: np.ndarray) -> float | None:
    """Returns the threshold of x [sites, 1] with the best balanced accuracy for y [sites]."""
    values = np.unique(x[:, 0])
    if y.all() or not y.any():
        return None
    return float(max(values, key=lambda value: _balanced_accuracy(x[:, 0] >= value, y)))


def _balanced_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float | None:
    if truth.all() or not truth.any():
        return None
    return float((predicted[truth].mean() + (~predicted[~truth]).mean()) / 2)


def _features(record: Record, null: tuple[float, float] | None) -> dict[str, float]:
    """Returns depth, size and every predictor of a cell; NaN where one was not recorded."""

    def number(value: float | None, sign: int = 1) -> float:
        return float("nan") if value is None else sign * value

    z = None if null is None else (record.rmse - null[0]) / null[1]
    return {
        "depth": float(record.depth),
        "size": float(np.log10(max(record.parameters, 1))),
        "-rmse": -record.rmse,
        "-relative_distance": number(record.relative_distance, -1),
        "cosine": number(record.cosine),
        "-z_rmse": number(z, -1),
        "cka": number(record.cka),
        "-output_error": number(record.output_error, -1),
    }


def _null(records: Mapping[int, Record]) -> tuple[float, float] | None:
    """Returns mean and sd of the RMSE between networks of one task; None without three seeds."""
    values = [record.rmse for record in records.values()]
    if len(values) < 3 or np.ptp(values) <= 1e-12 * max(values):
        return None
    return float(np.mean(values)), float(np.std(values, ddof=1))


def _finite_sites(columns: Columns, name: str) -> Columns:
    """Keeps the sites at which the predictor was recorded."""
    finite = np.isfinite(columns[name])
    return {key: values[finite] for key, values in columns.items()}


def _pooled(
    seeds: Sequence[Columns], names: Sequence[str], margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns features [sites, names] and whether each site's kernels can be reused [sites]."""
    x = [np.stack([columns[name] for name in names], axis=1) for columns in seeds]
    y = [columns["retention"] >= 1 - margin for columns in seeds]
    return np.concatenate(x), np.concatenate(y)
