"""Blocks of a study's arms: the networks that each needs, with their seeds.

    block.parts   # {"recipient": Network, "transfer": Network, ...}

Seeds. A replicate's network of a kind has the seed S = --seed + 6 * replicate + number of the
kind, so that no two networks share initial values or the order of images. Linked networks add
a multiple of 1,000 (`FAR`) to the seed of the order: 1 for the follower of a link "same", 2 for
a sequential recipient, 3 for a twin, and 4 for the fits of label curves. These numbers are part
of the results: another seed gives other networks, and a study begun earlier could not go on.
"""

import dataclasses
import functools
import re
from typing import TYPE_CHECKING

from tfreuse.errors import InputError
from tfreuse.specs import KINDS, DataSpec, ModelSpec, TrainSpec
from tfreuse.specs.base import changes

if TYPE_CHECKING:
    from tfreuse.study.design import Specs

# Changes of TrainSpec for each kind of network; "scrambled" is the donor of a control.
_TRAINING = {
    "segmentation": {"task": "segmentation"},
    "foreground": {"task": "segmentation", "labels": "foreground"},
    "autoencoder": {"task": "autoencoder"},
    "denoising": {"task": "autoencoder", "corruption": "noise"},
    "masked": {"task": "autoencoder", "corruption": "mask"},
    "scrambled": {"task": "autoencoder", "corruption": "scramble"},
}
_ORDER = (*KINDS, "scrambled")
# Settings of a donor of label curves that its kind, its replicate or its recipient decides.
_FIXED = (
    "task", "labels", "seed", "initial_seed", "initial_model", "stages",
)  # fmt: skip
_EXAMPLES = "train_examples"  # the option of the data set in which it may differ
FAR = 1_000  # between the seeds of independent networks and of linked ones


@dataclasses.dataclass(frozen=True)
class Network:
    """A network to train.

    Attributes:
        name: of its directory.
        model, train: its settings.
        needs: name of the network whose values its training starts from; "": none.
        file: the model file or folder that it is read from instead of a training; "": none.
        into: a donor's recipient, in a copy of which the values of `file` are put; "": none.
        train_examples: number of training images that it learns from, the first; 0: all of the
            study's.
    """

    name: str
    model: ModelSpec
    train: TrainSpec
    needs: str = ""
    file: str = ""
    into: str = ""
    train_examples: int = 0

    @property
    def unit(self) -> str:
        """The name of the unit of work that makes it."""
        return f"{'read' if self.file else 'train'} {self.name}"

    def data(self, study: DataSpec) -> DataSpec:
        """Returns the study's data set, with the training images that this network learns from."""
        count = self.train_examples
        return dataclasses.replace(study, train_examples=count) if count else study

    @property
    def first_seed(self) -> int:
        """The seed of the initial values."""
        seed = self.train.initial_seed
        return self.train.seed if seed < 0 else seed


@dataclasses.dataclass(frozen=True)
class Block:
    """All arms of one recipient, with donors of one task."""

    specs: "Specs"
    architecture: str
    direction: str
    link: str
    seed: int

    @property
    def name(self) -> str:
        link = "" if self.link == "independent" else f"-{self.link}"
        return f"{self.prefix}{self.direction}{link}-{self.seed}"

    @property
    def owner(self) -> tuple[str, ...]:
        """The beginning of `Record.key` of its records."""
        return self.architecture, self.direction, self.link, str(self.seed)

    @property
    def kinds(self) -> tuple[str, str]:
        """The donor's and the recipient's kind."""
        donor, recipient = self.direction.split("-to-")
        return donor, recipient

    @functools.cached_property
    def model(self) -> ModelSpec:
        return self.specs.model.variant(self.architecture)

    @functools.cached_property
    def parts(self) -> dict[str, Network]:
        """The block's networks: the recipient, and the donors by control ("transfer" ...)."""
        donor, recipient = self.kinds
        if self.link == "independent":
            pair = self.network(recipient), self.network(donor)
        elif self.link == "same":
            pair = self._same()
        else:
            pair = self._after(donor, recipient), self.network(donor)
        parts = dict(zip(("recipient", "transfer"), pair, strict=True))
        if "other_seed" in self.specs.study.controls:
            parts["other_seed"] = self._same_task(parts["recipient"])
        if "scrambled" in self.specs.study.controls:
            parts["scrambled"] = self.network("scrambled")
        return parts

    def network(self, kind: str, seed: int | None = None) -> Network:
        """Returns an independent network: no other has its initial values or order of images."""
        seed = self.seed if seed is None else seed
        return Network(
            f"{self.prefix}{kind}-{seed}", self.model, self._train(kind, seed)
        )

    def donor(self, text: str) -> Network:
        """Returns an independent network of a kind, changed as an item of --label_donors says.

        Donors of one kind have the same seeds, whatever their options.

        Args:
            text: a kind, or with options: "masked:skips=false:augment=flip+zoom".

        Raises:
            InputError: no such option or value.
        """
        kind, *words = text.split(":")
        network, of_model = self.network(kind), []
        if not self.model.model:
            of_model = ModelSpec.options(self.model.architecture)
        of_training = [f for f in dataclasses.fields(TrainSpec) if f.name not in _FIXED]
        of_model = [field for field in of_model if field.name not in _FIXED]
        of_data = [f for f in dataclasses.fields(DataSpec) if f.name == _EXAMPLES]
        values = changes("label_donors", words, [*of_training, *of_model, *of_data])
        train, model, data = (
            {field.name: values[field.name] for field in fields if field.name in values}
            for fields in (of_training, of_model, of_data)
        )
        try:
            donor = dataclasses.replace(
                network,
                name=f"{self.prefix}{slug(text)}-{self.seed}",
                model=dataclasses.replace(network.model, **model),
                train=dataclasses.replace(network.train, **train),
                **data,
            )
            if data:
                self._check_examples(donor)
        except InputError as error:
            raise InputError(f"--label_donors={text}: {error}") from error
        return donor

    def _check_examples(self, donor: Network) -> None:
        """Raises InputError unless a donor can learn from so few training images."""
        count, whole = donor.train_examples, self.specs.data.train_examples
        if count < 1 or 0 < whole <= count:
            bound = (
                f"1 to {whole - 1}, fewer than the study's {whole}"
                if whole
                else "1 or more"
            )
            raise InputError(f"{_EXAMPLES} takes {bound}; got {count}.")
        size = donor.train.batch_size
        if size > count and donor.train.unlabelled == "train":
            raise InputError(
                f"{count} images are fewer than the {size} of an update; add :batch_size={count}."
            )

    def _same(self) -> tuple[Network, Network]:
        """Returns recipient and donor with the same initial values, but another data order.

        The kind that is first in KINDS leads: it is the independent network of that name. Both
        directions thus share one pair. The follower needs a data order of its own: with the
        leader's seed both would see the same batches, and be alike for that reason too.
        """
        donor, recipient = self.kinds
        first, second = sorted(self.kinds, key=_ORDER.index)
        leader = self.network(first)
        train = dataclasses.replace(
            self._train(second, self.seed),
            seed=self._seed(second, self.seed) + FAR,
            initial_seed=leader.first_seed,
        )
        follower = Network(
            f"{self.prefix}{second}-{self.seed}-as-{first}", self.model, train
        )
        pair = {first: leader, second: follower}
        return pair[recipient], pair[donor]

    def _after(self, donor: str, recipient: str) -> Network:
        """Returns a recipient whose training starts from the trained donor."""
        start = self.network(donor).name
        train = dataclasses.replace(
            self._train(recipient, self.seed),
            seed=self._seed(recipient, self.seed) + 2 * FAR,
            initial_model=f"../{start}/model.keras",
        )
        name = f"{self.prefix}{recipient}-{self.seed}-after-{donor}"
        return Network(name, self.model, train, start)

    def _same_task(self, recipient: Network) -> Network:
        """Returns a donor of the recipient's own task: the upper bound of all donors.

        It is another replicate's recipient: seeds 0 and 1 are each other's donors, 2 and 3 and so
        on, so that pairs share no network (`arms.independent`); the last of an odd number takes
        seed 0. Where donor and recipient share initial values it is a twin instead: a network
        that shares them too, with another data order.
        """
        kind = self.kinds[1]
        if self.link != "same":
            partner = self.seed ^ 1
            return self.network(
                kind, partner if partner < self.specs.study.seeds else 0
            )
        train = dataclasses.replace(
            recipient.train,
            seed=recipient.train.seed + 3 * FAR,
            initial_seed=recipient.first_seed,
        )
        return Network(f"{recipient.name}-twin", self.model, train)

    def _train(self, kind: str, seed: int) -> TrainSpec:
        return self.specs.train.for_task(seed=self._seed(kind, seed), **_TRAINING[kind])

    def _seed(self, kind: str, replicate: int) -> int:
        return self.specs.train.seed + replicate * len(_ORDER) + _ORDER.index(kind)

    @property
    def prefix(self) -> str:
        """The architecture, at the start of names; empty if the study has only one."""
        if len(self.specs.architectures) == 1:
            return ""
        return slug(self.architecture) + "-"


def slug(text: str) -> str:
    """Returns an item of --architectures or --label_donors as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text)
