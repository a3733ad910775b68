"""The design of a study: networks to train, blocks of arms and label curves to measure.

    specs = Specs(StudySpec(seeds=2), DataSpec(), ModelSpec(), TrainSpec())
    specs.networks()                    # {"segmentation-0": Network, ...}
    specs.blocks()[0].parts             # {"recipient": Network, "transfer": Network, ...}

Seeds. A replicate's network of a kind has the seed S = --seed + 6 * replicate + number of the
kind, so that no two networks share initial values or the order of images. Linked networks add
a multiple of 1,000 (`_FAR`) to the seed of the order: 1 for the follower of a link "same", 2 for
a sequential recipient, 3 for a twin, and 4 for the fits of label curves. These numbers are part
of the results: another seed gives other networks, and a study begun earlier could not go on.
"""

import dataclasses
import functools
import math
import re

from tfreuse import files, roles
from tfreuse.errors import InputError
from tfreuse.specs import (
    KINDS,
    DataSpec,
    ModelSpec,
    Spec,
    StudySpec,
    TrainSpec,
)
from tfreuse.specs.labels import PRETRAINED, LabelSpec

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
_FAR = 1_000  # between the seeds of independent networks and of linked ones


@dataclasses.dataclass(frozen=True)
class Network:
    """A network to train.

    Attributes:
        name: of its directory.
        model, train: its settings.
        needs: name of the network whose values its training starts from; "": none.
    """

    name: str
    model: ModelSpec
    train: TrainSpec
    needs: str = ""

    @property
    def first_seed(self) -> int:
        """The seed of the initial values."""
        seed = self.train.initial_seed
        return self.train.seed if seed < 0 else seed


@dataclasses.dataclass(frozen=True)
class Specs:
    """All settings of a study; its factors replace fields of `model` and `train`."""

    study: StudySpec
    data: DataSpec
    model: ModelSpec
    train: TrainSpec
    labels: LabelSpec = dataclasses.field(default_factory=LabelSpec)

    def __post_init__(self) -> None:
        if not self.study.directions and not self.labels.label_counts:
            raise InputError(
                "there is nothing to study: --directions and --label_counts are both empty."
            )
        for group in self.study.groups:
            roles.expand(group)  # raises InputError if there is no such group
        # raises InputError if there is no such architecture or option
        models = [self.model.variant(name) for name in self.architectures]
        if len(set(models)) < len(models):
            raise InputError(
                "--architectures names the same network twice: "
                f"{list(self.study.architectures)}."
            )
        self._check_pretrained(models)
        for name in ("directions", "links", "groups", "sites", "controls", "strengths"):
            values = getattr(self.study, name)
            if len(set(values)) < len(values):
                raise InputError(f"--{name} names something twice: {list(values)}.")
        strengths = self.study.strengths
        if 1.0 not in strengths or not all(0 < alpha <= 1 for alpha in strengths):
            raise InputError(
                "--strengths takes numbers above 0 and up to 1, and 1 among them; got "
                f"{list(strengths)}."
            )

    def _check_pretrained(self, models: list[ModelSpec]) -> None:
        if not self.labels.label_counts or PRETRAINED not in self.labels.label_donors:
            return
        for model in models:
            if not model.encoder_weights:
                raise InputError(
                    f"--label_donors={PRETRAINED} needs --encoder_weights for every network; "
                    f"--encoder={model.encoder} has none."
                )

    def named(self) -> dict[str, Spec]:
        """Returns the specs by name, as in `study.json`; `labels` only where there are curves."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "labels" or self.labels.label_counts
        }

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all specs: the identity of the study."""
        return files.digest(
            {name: spec.to_json() for name, spec in self.named().items()}
        )

    @property
    def architectures(self) -> tuple[str, ...]:
        return self.study.architectures or (self.model.name,)

    def networks(self) -> dict[str, Network]:
        """Returns all networks by name, each after the network that it is trained from.

        Those of the first block come first, so that measuring can begin early.
        """
        networks: dict[str, Network] = {}
        for block in self.blocks():
            by_name = {network.name: network for network in block.parts.values()}
            for network in block.parts.values():
                if network.needs:
                    networks.setdefault(network.needs, by_name[network.needs])
                networks.setdefault(network.name, network)
        for curve in self.curves():
            for network in curve.donors.values():
                networks.setdefault(network.name, network)
        return networks

    def curves(self) -> list["Curve"]:
        """Lists the label curves: one for each architecture and replicate."""
        counts = self.labels.label_counts
        return [
            Curve(self, architecture, replicate)
            for replicate in range(self.study.seeds if counts else 0)
            for architecture in self.architectures
        ]

    def blocks(self) -> list["Block"]:
        """Lists the blocks of arms: one for each replicate, architecture, link and direction."""
        return [
            Block(self, architecture, direction, link, replicate)
            for replicate in range(self.study.seeds)
            for architecture in self.architectures
            for link in self.study.links
            for direction in self.study.directions
        ]

    def describe(self) -> str:
        """Describes the networks, blocks and label curves in a few lines."""
        study, networks = self.study, list(self.networks())
        names = networks if len(networks) <= 8 else [*networks[:7], "..."]
        lines = [
            f"{len(networks)} networks ({', '.join(self.architectures)}): {', '.join(names)}"
        ]
        if self.blocks():
            lines.append(
                f"{len(self.blocks())} blocks: {', '.join(study.directions)}; links "
                f"{', '.join(study.links)}; {study.seeds} seeds\n"
                f"groups {', '.join(study.groups)}; sites {', '.join(study.sites)}; "
                f"controls {', '.join(study.controls)}; repairs {', '.join(study.repairs)}"
            )
        if self.curves():
            counts = ", ".join(str(n or "all") for n in self.labels.label_counts)
            lines.append(
                f"{len(self.curves())} sets of label curves: {counts} labels; recipes "
                f"{', '.join(self.labels.recipes)}; donors "
                f"{', '.join(self.labels.label_donors)}; {study.seeds} seeds"
            )
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Block:
    """All arms of one recipient, with donors of one task."""

    specs: Specs
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
            seed=self._seed(second, self.seed) + _FAR,
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
            seed=self._seed(recipient, self.seed) + 2 * _FAR,
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
            seed=recipient.train.seed + 3 * _FAR,
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
        return re.sub(r"[^A-Za-z0-9_]+", "-", self.architecture) + "-"


@dataclasses.dataclass(frozen=True)
class Curve:
    """The label curves of one replicate: all arms at all numbers of labels."""

    specs: Specs
    architecture: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self._block('').prefix}labels-{self.seed}"

    @property
    def owner(self) -> tuple[str, ...]:
        """The architecture and seed of its records."""
        return self.architecture, str(self.seed)

    @property
    def model(self) -> ModelSpec:
        return self._block("").model

    @functools.cached_property
    def donors(self) -> dict[str, Network]:
        """The donors that the study trains, by kind: those of this seed's blocks."""
        return {
            kind: self._block(kind).network(kind)
            for kind in self.specs.labels.label_donors
            if kind != PRETRAINED
        }

    @property
    def train(self) -> TrainSpec:
        """The training on few labels; no donor has its initial values."""
        first = self._block("").network("segmentation").train
        return dataclasses.replace(
            first, steps=self.specs.labels.label_steps, seed=first.seed + 4 * _FAR
        )

    def arms(self) -> list[tuple[str, ...]]:
        """Lists `LabelRecord.key` of every arm at every number of labels, fewest labels first."""
        counts = sorted(self.specs.labels.label_counts, key=lambda n: n or math.inf)
        return [
            (self.architecture, donor, recipe, str(self.seed), str(count))
            for count in counts
            for donor, recipe in self.specs.labels.arms()
        ]

    def _block(self, kind: str) -> Block:
        direction = f"{kind}-to-segmentation"
        return Block(self.specs, self.architecture, direction, "independent", self.seed)
