"""The donors of one recipient: trained networks, and controls made from them.

    donors = Donors(block, models_dir, recipient, digest, images, train_split)
    donors.get("transfer").values          # {variable path: array}
    donors.aligned("transfer")             # the same, channels in the recipient's order

A trained donor's moving statistics are re-estimated exactly, like the recipient's.
"""

import dataclasses
import functools
import pathlib

import keras
import numpy as np

from tfreuse import (
    alignment,
    data,
    files,
    models,
    transplant,
)
from tfreuse import plan as plan_module
from tfreuse.models import saving
from tfreuse.study import controls, treatments
from tfreuse.study.design import Block
from tfreuse.training import recalibration

# Added to a replicate's seed: no network of the study was initialised from it.
_FRESH_SEED = 1_000_003


@dataclasses.dataclass(frozen=True)
class Donor:
    """Values that may be transplanted, and where they come from."""

    name: str
    digest: str
    variables: tuple[plan_module.Variable, ...]
    values: transplant.Values


class Donors:
    """Makes each donor when it is first asked for, and keeps it.

    Args:
        block: the recipient's block.
        models_dir: where the trained networks are.
        recipient: the model, its statistics re-estimated.
        digest: of its file.
        images: clean images float32 [N, H, W, C] for re-estimating statistics.
        split: the recipient's training split.
    """

    def __init__(
        self,
        block: Block,
        models_dir: pathlib.Path,
        recipient: keras.Model,
        digest: str,
        images: np.ndarray,
        split: data.Split,
    ) -> None:
        self._block, self._model, self._digest = block, recipient, digest
        self._images, self._split = images, split
        self._paths = {
            part: models_dir / network.name / "model.keras"
            for part, network in block.parts.items()
        }
        self._values = transplant.values(recipient)
        self._variables = transplant.index(recipient)
        self._made: dict[tuple[str, int], Donor] = {}
        self._aligned: dict[tuple[str, int], transplant.Values] = {}

    def get(self, control: str, draw: int = 0) -> Donor:
        """The donor of "transfer" or of a control."""
        if (control, draw) not in self._made:
            self._made[control, draw] = self._make(control, draw)
        return self._made[control, draw]

    def aligned(self, control: str, draw: int = 0) -> transplant.Values:
        """The donor's values with channels in the order that fits the recipient's best."""
        if (control, draw) not in self._aligned:
            values = {  # without the head of another task
                path: value
                for path, value in self.get(control, draw).values.items()
                if path in self._values and self._values[path].shape == value.shape
            }
            order = alignment.match(self._ties, self._values, values)
            self._aligned[control, draw] = alignment.permute(self._ties, values, order)
        return self._aligned[control, draw]

    def _make(self, control: str, draw: int) -> Donor:
        if control == "self":
            return self._own(self._block.parts["recipient"].name, self._values)
        if control == "reordered":
            return self._own(control, self._reordered())
        if control in ("reinitialised", "defaults", "initial"):
            return self._from_model(control, self._digest, self._untrained(control))
        if control not in self._paths:
            return self._computed(control, draw)
        path, network = self._paths[control], self._block.parts[control]
        model = saving.load(path)
        images = as_input(self._images, network.train.corruption)
        recalibration.Recalibrator(model, images)()
        return self._from_model(network.name, files.file_digest(path), model)

    def _own(self, name: str, values: transplant.Values) -> Donor:
        return Donor(name, self._digest, self._variables, values)

    def _from_model(self, name: str, digest: str, model: keras.Model) -> Donor:
        return Donor(name, digest, transplant.index(model), transplant.values(model))

    def _untrained(self, control: str) -> keras.Model:
        """Fresh initial values, or those that the recipient's training started from."""
        network = self._block.parts["recipient"]
        fresh = _FRESH_SEED + self._block.seed
        return models.build(
            network.model,
            task=network.train.task,
            num_classes=self._split.num_classes,
            channels=self._block.specs.data.channels,
            seed=network.first_seed if control == "initial" else fresh,
        )

    def _computed(self, control: str, draw: int) -> Donor:
        """A donor made from the treatment's and the recipient's values."""
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
        ]
        seed = self._block.parts["recipient"].train.seed
        made = controls.make(control, draw, pairs, seed)
        kept = tuple(v for v in donor.variables if v.path in made)
        return Donor(control, donor.digest, kept, made)

    def _reordered(self) -> transplant.Values:
        """The recipient's own values with every layer's channels in a random order."""
        rng = np.random.default_rng(self._block.parts["recipient"].train.seed)
        sizes = sorted(self._ties.sizes.items())
        order = {group: rng.permutation(size) for group, size in sizes}
        return alignment.permute(self._ties, self._values, order)

    @functools.cached_property
    def _ties(self) -> alignment.Ties:
        return transplant.ties(self._model)


def as_input(images: np.ndarray, corruption: str) -> np.ndarray:
    """Clean images as a network of that training takes them, float32 [N, H, W, C]."""
    return np.asarray(data.inputs_and_targets(images, corruption)[0])


def first_images(split: data.Split, count: int) -> np.ndarray:
    """The first `count` images of the split, float32 [N, H, W, C] in [0, 1]."""
    count = min(count, split.size)
    found, have = [], 0
    for batch in data.evaluation_batches(split, 64):
        found.append(batch["image"].numpy())
        have += len(found[-1])
        if have >= count:
            break
    return np.concatenate(found)[:count]
