"""The donors of one recipient: trained networks, and controls made from them.

    donors = Donors(block, models_dir, model, variables, values, digest, images, train)
    donors.get("transfer").values          # {variable path: array}
    donors.aligned("transfer").values      # the same, channels in the recipient's order
    donors.get("transfer", updates=30)     # as it was after 30 updates of its training

A trained donor's moving statistics are re-estimated exactly, like the recipient's.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from tfreuse import (
    data,
    files,
    models,
    training,
    transplant,
)
from tfreuse import plan as plan_module
from tfreuse.models import saving
from tfreuse.runners import Cache
from tfreuse.study import controls, reading, treatments
from tfreuse.study.design import Block, Network
from tfreuse.training import initial, recalibration
from tfreuse.transplant import alignment

# Added to a replicate's seed for the control "reinitialised". Seeds of a study's networks stay
# far below it, so that no network started from these values (`design.Block` lists the offsets).
_FRESH_SEED = 1_000_003

_Key = tuple[str, int, int | None]  # control, draw, updates


@dataclasses.dataclass(frozen=True)
class Donor:
    """Values that can be transplanted, and the model file that they come from.

    Attributes:
        name: of the trained network, or of the control.
        digest: SHA-256 of the model file that the values were read or computed from.
        variables: its parameters.
        values: their arrays by variable path.
    """

    name: str
    digest: str
    variables: Sequence[plan_module.Variable]
    values: transplant.Values


class Donors:
    """Loads or computes each donor when it is first used, and keeps it.

    A donor is used by hundreds of arms, and loading a network takes about a second.

    Args:
        block: the recipient's block of arms.
        models_dir: the study's trained networks, a folder each.
        model: the recipient.
        variables, values: its parameters and their original values.
        digest: SHA-256 of its model file.
        images: clean images float32 [N, H, W, C] for re-estimating statistics.
        train: its training split.
        cache: keeps models of the donors' structures, which each donor is loaded into.
    """

    def __init__(
        self,
        block: Block,
        models_dir: pathlib.Path,
        model: keras.Model,
        variables: Sequence[plan_module.Variable],
        values: transplant.Values,
        digest: str,
        images: np.ndarray,
        train: data.Split,
        cache: Cache | None = None,
    ) -> None:
        self._block, self._model, self._digest = block, model, digest
        self._variables, self._values = variables, values
        self._images, self._train, self._cache = images, train, cache or Cache()
        self._folders = {
            part: models_dir / network.name for part, network in block.parts.items()
        }
        self._donors: dict[_Key, Donor] = {}
        self._aligned: dict[_Key, Donor] = {}

    def get(self, control: str, draw: int = 0, updates: int | None = None) -> Donor:
        """Returns the donor of the treatment, "transfer", or of a control.

        Args:
            control: "transfer", or one of `specs.CONTROLS`.
            draw: number of the draw of a random control.
            updates: of the treatment's training, after which it kept the donor; None: the
                finished donor.
        """
        key = control, draw, updates
        if key not in self._donors:
            if updates is None:
                self._donors[key] = self._make(control, draw)
            else:
                path = training.kept_path(self._folders[control], updates)
                self._donors[key] = self._trained(control, path)
        return self._donors[key]

    def aligned(self, control: str, draw: int = 0, updates: int | None = None) -> Donor:
        """Returns the donor with its channels in the order that fits the recipient's best."""
        key = control, draw, updates
        if key not in self._aligned:
            donor = self.get(*key)
            values = {  # a head for another task has another shape, or no counterpart
                path: value
                for path, value in donor.values.items()
                if path in self._values and self._values[path].shape == value.shape
            }
            order = alignment.match(self._ties, self._values, values)
            values = alignment.permute(self._ties, values, order)
            self._aligned[key] = dataclasses.replace(donor, values=values)
        return self._aligned[key]

    def _make(self, control: str, draw: int) -> Donor:
        if control == "self":
            return self._recipient(self._block.parts["recipient"].name, self._values)
        if control == "reordered":
            return self._recipient(control, self._reordered())
        if control in ("reinitialised", "defaults", "initial"):
            return _from_model(control, self._digest, self._untrained(control))
        if control not in self._folders:
            return self._computed(control, draw)
        return self._trained(control, self._folders[control] / "model.keras")

    def _trained(self, control: str, path: pathlib.Path) -> Donor:
        """Reads a network of the block, and re-estimates its statistics if the study trained it."""
        network = self._block.parts[control]
        if network.file:  # a network that exists is taken as it is
            model = saving.load(path)
        else:
            model = self._recalibrated(path, network)
        return _from_model(network.name, files.file_digest(path), model)

    def _recalibrated(self, path: pathlib.Path, network: Network) -> keras.Model:
        """Returns the network of the file, statistics re-estimated, until the next call."""

        def prepare(
            model: keras.Model,
        ) -> tuple[keras.Model, recalibration.Recalibrator]:
            images = as_input(self._images, network.train.corruption)
            return model, recalibration.Recalibrator(model, images)

        train = training.seedless(network.train)
        key = self._block.specs.digest, network.model, train
        model, recalibrate = saving.load_shared(
            self._cache, "donor", key, path, prepare
        )
        recalibrate()
        return model

    def _recipient(self, name: str, values: transplant.Values) -> Donor:
        return Donor(name, self._digest, self._variables, values)

    def _untrained(self, control: str) -> keras.Model:
        """Builds the recipient's network with its own initial values, or with fresh ones."""
        network = self._block.parts["recipient"]
        fresh = _FRESH_SEED + self._block.seed
        if network.file:
            return reading.reinitialised(self._model, fresh)
        build = models.build if control == "reinitialised" else initial.network
        return build(
            network.model,
            task=network.train.task,
            num_classes=self._train.num_classes,
            channels=self._block.specs.data.channels,
            seed=network.first_seed if control == "initial" else fresh,
        )

    def _computed(self, control: str, draw: int) -> Donor:
        """Computes a control from the treatment's and the recipient's values."""
        donor = self.get("transfer")
        (everywhere,) = treatments.sites(self._model, ("all",))
        plan = plan_module.make(
            donor.variables, self._variables, layers=everywhere.layers
        )
        pairs = [
            controls.Pair(
                entry.donor.path,
                entry.recipient.role,
                self._values[entry.recipient.path],
                donor.values[entry.donor.path],
            )
            for entry in plan.copies
            if entry.recipient.role
        ]
        seed = self._block.parts["recipient"].train.seed
        values = controls.make(control, draw, pairs, seed)
        variables = tuple(v for v in donor.variables if v.path in values)
        return Donor(control, donor.digest, variables, values)

    def _reordered(self) -> transplant.Values:
        """Permutes every layer's channels at random; the network computes the same."""
        rng = np.random.default_rng(self._block.parts["recipient"].train.seed)
        sizes = sorted(self._ties.sizes.items())
        order = {group: rng.permutation(size) for group, size in sizes}
        return alignment.permute(self._ties, self._values, order)

    @functools.cached_property
    def _ties(self) -> alignment.Ties:
        return transplant.ties(self._model)


def _from_model(name: str, digest: str, model: keras.Model) -> Donor:
    return Donor(name, digest, transplant.index(model), transplant.values(model))


def as_input(images: np.ndarray, corruption: str) -> np.ndarray:
    """Corrupts clean images as in a network's training, float32 [N, H, W, C]."""
    return as_pair(images, corruption)[0]


def as_pair(images: np.ndarray, corruption: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns inputs and targets of clean images as in a network's training."""
    inputs, targets = data.inputs_and_targets(images, corruption)
    return np.asarray(inputs), np.asarray(targets)


def first_images(split: data.Split, count: int) -> np.ndarray:
    """Reads the first `count` images of the split, float32 [N, H, W, C] in [0, 1]."""
    count = min(count, split.size)
    batches, total = [], 0
    for batch in data.evaluation_batches(split, 64):
        batches.append(batch["image"].numpy())
        total += len(batches[-1])
        if total >= count:
            break
    return np.concatenate(batches)[:count]
