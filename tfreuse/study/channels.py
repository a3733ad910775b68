"""Chooses the channels that an arm moves: the first of an order by a score, in each layer.

The order "activation" looks at the first half of the calibration images. Arms are judged on test
images, which no score has seen.
"""

import functools
from collections.abc import Mapping

import numpy as np

from tfreuse import plan as plan_module
from tfreuse import transplant
from tfreuse.plan import Plan
from tfreuse.plan import channels as plan_channels
from tfreuse.specs import ORDERS
from tfreuse.study import treatments
from tfreuse.study.donors import Donor
from tfreuse.study.recipient import Recipient
from tfreuse.study.repairs import Probe
from tfreuse.study.treatments import Arm

POSITIONS = 4096  # pixels of the scored images' feature maps, for each layer
Scores = dict[str, np.ndarray]  # path of the layer -> [output channels], highest first


class Orders:
    """The orders of a recipient's channels, for each of its donors.

    Args:
        recipient: with its original values whenever an order is asked for.
    """

    def __init__(self, recipient: Recipient) -> None:
        self._recipient = recipient
        (everywhere,) = treatments.sites(recipient.model, ("all",))
        self._layers = everywhere.layers
        names = {v.layer_path: v.layer for v in recipient.variables}
        self._groups = {
            path: behind
            for path, behind in transplant.channels_of(recipient.model).items()
            if names[path] in self._layers
        }
        self._names = {path: [names[p] for p in g] for path, g in self._groups.items()}
        self._scores: dict[tuple, Scores] = {}  # by order, draw and identity of a donor

    def chosen(self, arm: Arm, donor: Donor) -> dict[str, tuple[int, ...]]:
        """Returns the output channels that an arm moves, by path of the layer.

        A layer moves the share of its channels with the highest scores, at least one.
        """
        key = arm.order, arm.draw, id(donor)  # donors live as long as their recipient
        if key not in self._scores:
            self._scores[key] = self._score(arm.order, arm.draw, donor)
        channels = {}
        for path, score in self._scores[key].items():
            if self._names[path][0] in arm.site.layers:
                count = max(1, round(arm.share * len(score)))
                first = np.argsort(-score, kind="stable")[:count]
                indices = tuple(sorted(first.tolist()))
                channels.update(dict.fromkeys(self._groups[path], indices))
        return channels

    def _score(self, order: str, draw: int, donor: Donor) -> Scores:
        plan = plan_module.make(
            donor.variables, self._recipient.variables, layers=self._layers
        )
        pairs = {
            entry.recipient.path: (
                self._recipient.values[entry.recipient.path],
                donor.values[entry.donor.path],
            )
            for entry in plan.copies
        }
        if order == "activation":
            return self._activations(plan, donor)
        if order == "random":
            return self._random(draw)
        score = {"gamma": self._gammas, "distance": self._distances}[order]
        return score(pairs)

    def _random(self, draw: int) -> Scores:
        seed = self._recipient.block.parts["recipient"].train.seed
        rng = np.random.default_rng([seed, draw, ORDERS.index("random")])
        return {path: rng.random(size) for path, size in self._sizes.items()}

    def _gammas(self, pairs: Mapping) -> Scores:
        """Returns |gamma| of the donor, or its kernels' norms where no gamma follows."""
        scores = {}
        for path, group in self._groups.items():
            gammas = [v for v in self._variables(group) if v.role == "gamma"]
            chosen = gammas[-1:] or self._trained(path)
            slices = [_by_channel(v, pairs[v.path][1]) for v in chosen]
            scores[path] = np.sqrt(sum(np.square(s).sum(axis=1) for s in slices))
        return scores

    def _distances(self, pairs: Mapping) -> Scores:
        """Returns minus the distance of the kernels, in norms of the recipient's, squared."""
        scores = {}
        for path in self._groups:
            apart, norm = 0.0, 0.0
            for variable in self._trained(path):
                old, new = (_by_channel(variable, a) for a in pairs[variable.path])
                apart = apart + np.square(new - old).sum(axis=1)
                norm = norm + np.square(old).sum(axis=1)
            scores[path] = -apart / np.maximum(norm, 1e-24)
        return scores

    def _activations(self, plan: Plan, donor: Donor) -> Scores:
        """Returns the correlation of each channel's outputs in donor and recipient.

        Before the activation function, behind the batch normalization. A constant output has
        none: it counts as -1, since nothing can be said for it.
        """
        before = self._probe.all()
        displaced = transplant.apply(plan, donor.values, self._recipient.model)
        try:
            after = self._probe.all()
        finally:
            transplant.undo(displaced, self._recipient.model)
        return {
            path: _correlation(before[names[-1]], after[names[-1]])
            for path, names in self._names.items()
        }

    @functools.cached_property
    def _probe(self) -> Probe:
        images = self._recipient.images
        half = images[: max(1, len(images) // 2)]
        names = [names[-1] for names in self._names.values()]
        model = self._recipient.model
        return self._recipient.cache.get(
            "half", POSITIONS, lambda: Probe(model, names, half, POSITIONS)
        )

    @functools.cached_property
    def _sizes(self) -> dict[str, int]:
        first = {path: self._variables([path])[0] for path in self._groups}
        return {
            path: v.shape[plan_channels.output_axis(v)] for path, v in first.items()
        }

    def _variables(self, paths) -> list[plan_module.Variable]:
        return [v for v in self._recipient.variables if v.layer_path in paths]

    def _trained(self, path: str) -> list[plan_module.Variable]:
        """Returns a layer's kernel; gamma and beta of a normalization that is named itself."""
        variables = self._variables([path])
        kernels = [v for v in variables if v.role == "kernel"]
        return kernels or [v for v in variables if v.role in ("gamma", "beta")]


def _by_channel(variable: plan_module.Variable, array: np.ndarray) -> np.ndarray:
    """Returns an array as [output channels, numbers of each], in double precision."""
    axis = plan_channels.output_axis(variable)
    rows = np.moveaxis(np.asarray(array, np.float64), axis, 0)
    return rows.reshape(len(rows), -1)


def _correlation(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Returns Pearson's correlation of each column of two arrays [n, C]; -1 of constant ones."""
    old, new = (
        x.astype(np.float64) - x.mean(axis=0, dtype=np.float64) for x in (old, new)
    )
    norms = np.sqrt(np.square(old).sum(axis=0) * np.square(new).sum(axis=0))
    product = (old * new).sum(axis=0)
    sound = np.isfinite(norms) & (norms > 0)
    return np.where(sound, product / np.where(sound, norms, 1.0), -1.0)
