"""Estimators of a plan's gain that need no training of it, and their evaluation.

    features = estimators.log_me(pixels, labels)        # [n, D], [n]: a number per stage
    rows = estimators.judge(gains, {"LogME": ...}, static)   # over seeds and plans
    print(estimators.verdict(rows))

The baselines are a **static ranker**, the same order of plans for every donor and data set
("always the encoder, fine-tuned"), and a random choice. An estimator that does not beat the
static ranker is of no use to the advisor, however well it correlates.

Formulas: LogME: You et al. 2021 (arXiv:2102.11005). H-score: Bao et al. 2019. Relative gradient
norm: Lee et al. 2023 (arXiv:2210.11466), Auto-RGN.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfreuse.analysis import intervals

STATIC, RANDOM = "static", "random"


def stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws the indices of about `count` pixels, the same number of each class.

    Args:
        labels: int [N]; pixels with negative labels are ignored.
        count: number of pixels; of a class with fewer than its share, all are drawn.
        seed: of the draw.
    """
    draw = np.random.default_rng(seed)
    classes = np.unique(labels[labels >= 0])
    share = -(-count // max(1, len(classes)))
    parts = []
    for label in classes:
        indices = np.flatnonzero(labels == label)
        parts.append(draw.choice(indices, min(share, len(indices)), replace=False))
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, int)


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """Returns the largest log evidence per sample of linear models from features to labels.

    For each class against all others, y = F w + noise, w ~ N(0, 1/alpha), noise ~
    N(0, 1/beta): max log p(y | F) over alpha and beta, divided by n; the mean over classes.

    Args:
        features: [n, D].
        labels: int [n].
    """
    features = np.asarray(features, np.float64)
    u, singular, _ = np.linalg.svd(features, full_matrices=False)
    rank = int((singular > 1e-10 * singular.max(initial=1e-300)).sum())
    u, squares = u[:, :rank], singular[:rank] ** 2
    targets = (labels[:, None] == np.unique(labels)).astype(np.float64)
    evidences = [_evidence(u, squares, y, features.shape[1]) for y in targets.T]
    return float(np.mean(evidences)) / len(features)


def _evidence(
    u: np.ndarray, squares: np.ndarray, target: np.ndarray, width: int
) -> float:
    """Maximizes the evidence of a target by MacKay's fixed-point iteration."""
    n = len(target)
    along = (u.T @ target) ** 2
    outside = max(0.0, float(target @ target - along.sum()))
    alpha = beta = 1.0
    for _ in range(200):
        ratio = alpha / beta
        free = (squares / (squares + ratio)).sum()
        weights = (squares * along / (squares + ratio) ** 2).sum()
        residual = (along * (ratio / (squares + ratio)) ** 2).sum() + outside
        alpha = free / max(weights, 1e-12)
        beta = (n - free) / max(residual, 1e-12)
        if abs(alpha / beta - ratio) <= 1e-9 * ratio:
            break
    ratio = alpha / beta
    weights = (squares * along / (squares + ratio) ** 2).sum()
    residual = (along * (ratio / (squares + ratio)) ** 2).sum() + outside
    spread = np.log(alpha + beta * squares).sum()
    spread += (width - len(squares)) * math.log(alpha)
    terms = width * math.log(alpha) + n * math.log(beta) - spread
    return 0.5 * (terms - beta * residual - alpha * weights - n * math.log(2 * math.pi))


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Returns trace(covariance⁻¹ · covariance of the class means), the separation of classes.

    Args:
        features: [n, D].
        labels: int [n].
    """
    features = np.asarray(features, np.float64)
    centred = features - features.mean(axis=0)
    means = np.zeros_like(centred)
    for label in np.unique(labels):
        means[labels == label] = centred[labels == label].mean(axis=0)
    total, between = centred.T @ centred, means.T @ means
    return float(np.trace(np.linalg.pinv(total, rcond=1e-10, hermitian=True) @ between))


def z_rmse(distance: float, peers: Sequence[float]) -> float:
    """Standardizes an RMSE between donor and recipient by the RMSEs between peers.

    As in the verdict on H5: peers are networks of the recipient's task and another seed, so
    that 0 is the distance of two such networks by chance.

    Args:
        distance: RMSE of donor and recipient.
        peers: RMSEs of peers and recipient, two or more.
    """
    spread = float(np.std(peers, ddof=1))
    return (distance - float(np.mean(peers))) / spread if spread > 0 else math.nan


def relative_gradient_norm(
    gradients: Sequence[np.ndarray], values: Sequence[np.ndarray]
) -> float:
    """Returns the norm of the gradient over the norm of the parameters, all arrays together."""
    length = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    return length / max(math.sqrt(sum(float((v**2).sum()) for v in values)), 1e-12)


def retention(after: float, before: float, floor: float) -> float:
    """Returns (after - floor) / (before - floor); NaN if `before` is not above the floor.

    Training-free: `after` is the metric of a trained recipient with the donor's parameters
    and re-estimated statistics, without further training.
    """
    return (after - floor) / (before - floor) if before > floor else math.nan


@dataclasses.dataclass(frozen=True)
class Judged:
    """Quality of an estimator's ranking.

    Attributes:
        regret: gain of the best plan minus gain of the plan ranked first, over seeds.
        tau: weighted Kendall tau (Vigna 2015) between estimated and true order, over seeds.
        better: regret of the static ranker minus the estimator's, paired by seed.
    """

    name: str
    regret: intervals.Interval
    tau: intervals.Interval
    better: intervals.Interval

    @property
    def beats_static(self) -> bool:
        return self.better.low > 0


def judge(
    gains: np.ndarray, estimates: Mapping[str, np.ndarray], static: Sequence[float]
) -> list[Judged]:
    """Compares estimators, the static ranker and a random choice with the true gains.

    Args:
        gains: [seeds, plans], measured by training each plan.
        estimates: name -> [seeds, plans], larger for plans estimated better.
        static: [plans], the order of the static ranker.

    Returns:
        a row for each estimator, the static ranker and chance; lowest regret first.
    """
    gains = np.asarray(gains, np.float64)
    order = np.broadcast_to(np.asarray(static, np.float64), gains.shape)
    base = _regrets(gains, order)
    rows = {
        name: (_regrets(gains, estimate), _taus(gains, estimate))
        for name, estimate in estimates.items()
    }
    rows[STATIC] = base, _taus(gains, order)
    rows[RANDOM] = gains.max(axis=1) - gains.mean(axis=1), np.zeros(len(gains))
    judged = [
        Judged(name, *map(intervals.mean_interval, (regret, tau, base - regret)))
        for name, (regret, tau) in rows.items()
    ]
    return sorted(judged, key=lambda row: row.regret.estimate)


def verdict(rows: Sequence[Judged]) -> str:
    """Returns a sentence that names the estimators that beat the static ranker, if any."""
    ahead = [row.name for row in rows if row.beats_static]
    n = rows[0].regret.n
    if ahead:
        return f"{', '.join(ahead)} beat the static ranker (n = {n} seeds)."
    return f"No estimator is shown to beat the static ranker (n = {n} seeds)."


def _regrets(gains: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """Returns the best gain minus the gain of the plan ranked first, or the mean of ties."""
    estimates = np.asarray(estimates, np.float64)
    first = estimates == estimates.max(axis=1, keepdims=True)
    gain_of_first = (gains * first).sum(axis=1) / first.sum(axis=1)
    return gains.max(axis=1) - gain_of_first


def _taus(gains: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    from scipy import stats  # here, so that `--help` need not wait for it

    taus = [
        stats.weightedtau(truth, estimate).statistic
        for truth, estimate in zip(gains, np.asarray(estimates), strict=True)
    ]
    return np.nan_to_num(
        np.array(taus, np.float64)
    )  # NaN where all estimates are equal
