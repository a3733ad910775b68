"""What a study consists of: networks to train, blocks of arms and label curves to measure."""

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
from tfreuse.specs.labels import LabelSpec

# Every kind of network as changes of TrainSpec; "scrambled" is a control's donor.
_TRAINING = {
    "segmentation": {"task": "segmentation"},
    "foreground": {"task": "segmentation", "labels": "foreground"},
    "autoencoder": {"task": "autoencoder"},
    "denoising": {"task": "autoencoder", "corruption": "noise"},
    "masked": {"task": "autoencoder", "corruption": "mask"},
    "scrambled": {"task": "autoencoder", "corruption": "scramble"},
}
_ORDER = (*KINDS, "scrambled")
_FAR = 1_000  # between seeds of independent networks and those of linked ones


@dataclasses.dataclass(frozen=True)
class Network:
    """One network to train."""

    name: str  # of its directory
    model: ModelSpec
    train: TrainSpec
    needs: str = ""  # network that it is trained on from

    @property
    def first_seed(self) -> int:
        """Seed of the initial values."""
        seed = self.train.initial_seed
        return self.train.seed if seed < 0 else seed


@dataclasses.dataclass(frozen=True)
class Specs:
    """Everything that a study depends on; what varies in it replaces fields of the others."""

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
        models = [self.model.variant(name) for name in self.architectures]  # likewise
        if len(set(models)) < len(models):
            raise InputError(
                "--architectures names the same network twice: "
                f"{list(self.study.architectures)}."
            )
        for name in ("directions", "links", "groups", "sites", "controls", "strengths"):
            values = getattr(self.study, name)
            if len(set(values)) < len(values):
                raise InputError(f"--{name} names something twice: {list(values)}.")
        wrong = [one for one in self.study.strengths if not 0 < one <= 1]
        if wrong or 1.0 not in self.study.strengths:
            raise InputError(
                "--strengths takes numbers above 0 and up to 1, and 1 among them; got "
                f"{list(self.study.strengths)}."
            )

    def named(self) -> dict[str, Spec]:
        """The specs by name, as `study.json` holds them; `labels` where there are curves."""
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
        """Every network that a block needs, by name; recipients of the first block first."""
        found: dict[str, Network] = {}
        for block in self.blocks():
            for network in block.parts.values():
                if network.needs:
                    found.setdefault(network.needs, self._independent(block, network))
                found.setdefault(network.name, network)
        for curve in self.curves():
            for network in curve.donors.values():
                found.setdefault(network.name, network)
        return found

    def curves(self) -> list["Curve"]:
        """The label curves: one an architecture and replicate."""
        counts = self.labels.label_counts
        return [
            Curve(self, architecture, replicate)
            for replicate in range(self.study.seeds if counts else 0)
            for architecture in self.architectures
        ]

    def blocks(self) -> list["Block"]:
        """The blocks of arms: one an architecture, replicate, link and direction."""
        return [
            Block(self, architecture, direction, link, replicate)
            for replicate in range(self.study.seeds)
            for architecture in self.architectures
            for link in self.study.links
            for direction in self.study.directions
        ]

    def describe(self) -> str:
        """What will be done, in a few lines."""
        study, networks = self.study, list(self.networks())
        shown = networks if len(networks) <= 8 else [*networks[:7], "..."]
        lines = [
            f"{len(networks)} networks ({', '.join(self.architectures)}): {', '.join(shown)}"
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

    def _independent(self, block: "Block", network: Network) -> Network:
        """The network that `network` is trained on from."""
        (found,) = (p for p in block.parts.values() if p.name == network.needs)
        return found


@dataclasses.dataclass(frozen=True)
class Block:
    """All arms of one recipient with donors of one kind."""

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
        """What the keys of its records begin with."""
        return self.architecture, self.direction, self.link, str(self.seed)

    @property
    def kinds(self) -> tuple[str, str]:
        """Donor's kind and recipient's kind."""
        donor, recipient = self.direction.split("-to-")
        return donor, recipient

    @functools.cached_property
    def model(self) -> ModelSpec:
        return self.specs.model.variant(self.architecture)

    @functools.cached_property
    def parts(self) -> dict[str, Network]:
        """The networks that the block needs, by the part they play in it."""
        donor, recipient = self.kinds
        if self.link == "independent":
            pair = self.network(recipient), self.network(donor)
        elif self.link == "same":
            pair = self._same()
        else:
            pair = self._after(donor, recipient), self.network(donor)
        found = {"recipient": pair[0], "transfer": pair[1]}
        if "other_seed" in self.specs.study.controls:
            found["other_seed"] = self._same_task(pair[0])
        if "scrambled" in self.specs.study.controls:
            found["scrambled"] = self.network("scrambled")
        return found

    def network(self, kind: str, seed: int | None = None) -> Network:
        """An independent network: it shares initial values and order with no other."""
        seed = self.seed if seed is None else seed
        return Network(
            f"{self.prefix}{kind}-{seed}", self.model, self._train(kind, seed)
        )

    def _same(self) -> tuple[Network, Network]:
        """Recipient and donor that start from the same values, and part from there on.

        The kind that comes first in KINDS is the independent network of that name, so that
        both directions share one pair.
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
        """A recipient that was trained on from the donor."""
        start = self.network(donor).name
        train = dataclasses.replace(
            self._train(recipient, self.seed),
            seed=self._seed(recipient, self.seed) + 2 * _FAR,
            initial_model=f"../{start}/model.keras",
        )
        name = f"{self.prefix}{recipient}-{self.seed}-after-{donor}"
        return Network(name, self.model, train, start)

    def _same_task(self, recipient: Network) -> Network:
        """A donor of the recipient's own task: the ceiling of what any donor can do.

        Where donor and recipient start from the same values, so does this one.
        """
        kind = self.kinds[1]
        if self.link != "same":
            return self.network(kind, (self.seed + 1) % self.specs.study.seeds)
        train = dataclasses.replace(
            recipient.train,
            seed=recipient.train.seed + 3 * _FAR,
            initial_seed=recipient.first_seed,
        )
        return Network(f"{recipient.name}-twin", self.model, train)

    def _train(self, kind: str, seed: int) -> TrainSpec:
        return dataclasses.replace(
            self.specs.train, seed=self._seed(kind, seed), **_TRAINING[kind]
        )

    def _seed(self, kind: str, replicate: int) -> int:
        return self.specs.train.seed + replicate * len(_ORDER) + _ORDER.index(kind)

    @property
    def prefix(self) -> str:
        """Tells the architectures of a study apart; empty where there is but one."""
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
        """Architecture and seed: what its records have in common."""
        return self.architecture, str(self.seed)

    @property
    def model(self) -> ModelSpec:
        return self._block("").model

    @functools.cached_property
    def donors(self) -> dict[str, Network]:
        """The donors by kind: the networks that transplants of the same seed take from too."""
        return {
            kind: self._block(kind).network(kind)
            for kind in self.specs.labels.label_donors
        }

    @property
    def train(self) -> TrainSpec:
        """How a network is fitted to few labels; its initial values are no donor's."""
        first = self._block("").network("segmentation").train
        return dataclasses.replace(
            first, steps=self.specs.labels.label_steps, seed=first.seed + 4 * _FAR
        )

    def arms(self) -> list[tuple[str, ...]]:
        """`LabelRecord.key` of every arm at every number of labels, the fewest first."""
        counts = sorted(self.specs.labels.label_counts, key=lambda n: n or math.inf)
        return [
            (self.architecture, donor, recipe, str(self.seed), str(count))
            for count in counts
            for donor, recipe in self.specs.labels.arms()
        ]

    def _block(self, kind: str) -> Block:
        direction = f"{kind}-to-segmentation"
        return Block(self.specs, self.architecture, direction, "independent", self.seed)
