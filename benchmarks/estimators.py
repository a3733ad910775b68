"""Estimates of what a plan will gain, made without training it, and how they are judged.

    features = estimators.log_me(pixels, labels)        # [n, D], [n]: one number a stage
    rows = estimators.judge(gains, {"LogME": ...}, static)   # over seeds and plans
    print(estimators.verdict(rows))

They are challengers: the bar is a **static ranker**, one order of plans for every donor and
data set ("always the encoder, fine-tuned"), and a random choice. An estimator that does not
beat the static one is worth nothing to the advisor, however well it correlates.

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
    """Places of about `count` pixels, as many of each class as there are.

    Args:
        labels: int [N], negative where a pixel counts for nothing.
        count: how many in all; a class with fewer than its share gives all that it has.
        seed: of the draw.
    """
    draw = np.random.default_rng(seed)
    classes = np.unique(labels[labels >= 0])
    share = -(-count // max(1, len(classes)))
    parts = []
    for label in classes:
        places = np.flatnonzero(labels == label)
        parts.append(draw.choice(places, min(share, len(places)), replace=False))
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, int)


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """Largest log evidence, a sample, of linear models from features to one-hot labels.

    Of each class against the rest y = F w + noise, w ~ N(0, 1/alpha), noise ~ N(0, 1/beta):
    log p(y | F) at its maximum over alpha and beta, over n; the mean over classes.

    Args:
        features: [n, D].
        labels: int [n].
    """
    features = np.asarray(features, np.float64)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    rank = int((singular > 1e-10 * singular.max(initial=1e-300)).sum())
    left, squares = left[:, :rank], singular[:rank] ** 2
    targets = (labels[:, None] == np.unique(labels)).astype(np.float64)
    found = [_evidence(left, squares, one, features.shape[1]) for one in targets.T]
    return float(np.mean(found)) / len(features)


def _evidence(
    left: np.ndarray, squares: np.ndarray, target: np.ndarray, width: int
) -> float:
    """The evidence of one target at its maximum, by MacKay's fixed point."""
    n = len(target)
    along = (left.T @ target) ** 2
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
    """trace(covariance⁻¹ covariance of the class means): how far classes stand apart.

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
    """An RMSE between donor and recipient in standard deviations from that between peers.

    As the verdict on H5 has it: peers are networks of the recipient's own task and another
    seed, so that 0 is as far as two such networks are by chance.

    Args:
        distance: RMSE of donor and recipient.
        peers: RMSEs of peers and recipient, two or more.
    """
    spread = float(np.std(peers, ddof=1))
    return (distance - float(np.mean(peers))) / spread if spread > 0 else math.nan


def relative_gradient_norm(
    gradients: Sequence[np.ndarray], values: Sequence[np.ndarray]
) -> float:
    """Length of the gradient over length of the parameters, of arrays taken together."""
    length = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    return length / max(math.sqrt(sum(float((v**2).sum()) for v in values)), 1e-12)


def retention(after: float, before: float, floor: float) -> float:
    """(after - floor) / (before - floor); not a number where there was nothing to lose.

    Training-free: `after` is the metric of a trained recipient with the donor's parameters
    and re-estimated statistics, and no training since.
    """
    return (after - floor) / (before - floor) if before > floor else math.nan


@dataclasses.dataclass(frozen=True)
class Judged:
    """How well one estimator chooses.

    Attributes:
        regret: gain of the best plan less that of the one it puts first, over seeds.
        tau: weighted Kendall tau (Vigna 2015) of its order with the true one, over seeds.
        better: regret of the static ranker less its own, paired by seed.
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
    """Holds estimators against the true gains, the static ranker and a random choice.

    Args:
        gains: [seeds, plans], what training each plan gave.
        estimates: name -> [seeds, plans], larger for what is thought better.
        static: [plans], the order that serves for every seed.

    Returns:
        one row an estimator, then those of the static ranker and of chance; lowest regret
        first.
    """
    gains = np.asarray(gains, np.float64)
    order = np.broadcast_to(np.asarray(static, np.float64), gains.shape)
    base = _regrets(gains, order)
    rows = {
        name: (_regrets(gains, found), _taus(gains, found))
        for name, found in estimates.items()
    }
    rows[STATIC] = base, _taus(gains, order)
    rows[RANDOM] = gains.max(axis=1) - gains.mean(axis=1), np.zeros(len(gains))
    made = [
        Judged(name, *map(intervals.mean_interval, (regret, tau, base - regret)))
        for name, (regret, tau) in rows.items()
    ]
    return sorted(made, key=lambda row: row.regret.estimate)


def verdict(rows: Sequence[Judged]) -> str:
    """One sentence: which estimators beat the static ranker, or that none does."""
    ahead = [row.name for row in rows if row.beats_static]
    n = rows[0].regret.n
    if ahead:
        return f"{', '.join(ahead)} beat the static ranker (n = {n} seeds)."
    return f"No estimator is shown to beat the static ranker (n = {n} seeds)."


def _regrets(gains: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """Best gain less that of the plan put first; of plans put first alike, their mean."""
    estimates = np.asarray(estimates, np.float64)
    first = estimates == estimates.max(axis=1, keepdims=True)
    taken = (gains * first).sum(axis=1) / first.sum(axis=1)
    return gains.max(axis=1) - taken


def _taus(gains: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    from scipy import stats  # here, so that `--help` need not wait for it

    found = [
        stats.weightedtau(truth, guess).statistic
        for truth, guess in zip(gains, np.asarray(estimates), strict=True)
    ]
    return np.nan_to_num(np.array(found, np.float64))  # an order of equals says nothing
