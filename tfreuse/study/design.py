"""The design of a study: networks to train, blocks of arms and label curves to measure.

specs = Specs(StudySpec(seeds=2), DataSpec(), ModelSpec(), TrainSpec())
specs.networks()                    # {"segmentation-0": Network, ...}
specs.blocks()[0].parts             # {"recipient": Network, "transfer": Network, ...}
"""

import dataclasses
import functools
import math

from tfreuse import files, progress, roles
from tfreuse.errors import InputError
from tfreuse.specs import (
    ALL_DIRECTIONS,
    DIRECTIONS,
    DataSpec,
    GivenSpec,
    ModelSpec,
    Spec,
    StudySpec,
    TrainSpec,
)
from tfreuse.specs.labels import PRETRAINED, LabelSpec
from tfreuse.study.blocks import FAR, Block, Network
from tfreuse.study.given import GivenBlock


@dataclasses.dataclass(frozen=True)
class Specs:
    """All settings of a study; its factors replace fields of `model` and `train`."""

    study: StudySpec
    data: DataSpec
    model: ModelSpec
    train: TrainSpec
    labels: LabelSpec = dataclasses.field(default_factory=LabelSpec)
    given: GivenSpec = dataclasses.field(default_factory=GivenSpec)

    def __post_init__(self) -> None:
        if not self.study.directions and not self.labels.label_counts:
            raise InputError(
                "there is nothing to study: --directions and --label_counts are both empty."
            )
        if not self.given:
            self._check_trainings()
        elif self.labels.label_counts:
            raise InputError(
                "--label_counts is of donors that a study trains; leave it out with --recipient."
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
        self._check_label_donors(models)
        for name in (
            "directions", "links", "groups", "sites", "controls", "strengths", "donor_updates",
        ):  # fmt: skip
            values = getattr(self.study, name)
            if len(set(values)) < len(values):
                raise InputError(f"--{name} names something twice: {list(values)}.")
        if self.study.sites == ("channels",):
            raise InputError(
                "channels are measured beside whole layers; give --sites=all,channels."
            )
        for name in ("sites", "groups", "links") if self.study.directions else ():
            if not getattr(self.study, name):
                raise InputError(
                    f"--{name} is empty: there is nothing to measure; give at least one."
                )
        strengths = self.study.strengths
        if 1.0 not in strengths or not all(0 < alpha <= 1 for alpha in strengths):
            raise InputError(
                "--strengths takes numbers above 0 and up to 1, and 1 among them; got "
                f"{list(strengths)}."
            )
        self._check_donor_updates()

    def _check_donor_updates(self) -> None:
        ages, steps = self.study.donor_updates, self.train.steps
        if ages and not self.study.directions:
            raise InputError(
                "--donor_updates is of the donors of --directions, which is empty; give it "
                f"{DIRECTIONS[0]}, or leave --donor_updates out."
            )
        if ages and max(ages) >= steps:
            raise InputError(
                f"--donor_updates takes numbers below --steps={steps}, whose end is the finished "
                f"donor; got {max(ages)}."
            )

    def _check_label_donors(self, models: list[ModelSpec]) -> None:
        if not self.labels.label_counts:
            return
        for curve in self.curves()[: len(models)]:
            networks = curve.donors  # raises InputError for an unknown option
            for describe, problem in (
                (
                    lambda n: (n.model, n.train, n.train_examples),
                    "the same donor twice",
                ),
                (lambda n: n.name, "donors of one name, but for signs and points"),
            ):
                if len(set(map(describe, networks.values()))) < len(networks):
                    raise InputError(f"--label_donors has {problem}: {list(networks)}.")
        if PRETRAINED not in self.labels.donors:
            return
        for model in models:
            if not model.encoder_weights:
                raise InputError(
                    f"--label_donors={PRETRAINED} needs --encoder_weights for every network; "
                    f"--encoder={model.encoder} has none."
                )

    def _check_trainings(self) -> None:
        """Raises InputError for settings of a study of networks that exist alone."""
        if self.study.seeds < 2:
            raise InputError(f"--seeds takes at least 2; got {self.study.seeds}.")
        for direction in self.study.directions:
            if direction not in ALL_DIRECTIONS:
                raise InputError(
                    f"--directions takes one of {', '.join(ALL_DIRECTIONS)}; got {direction!r}."
                )

    def named(self) -> dict[str, Spec]:
        """Returns the specs by name, as in `study.json`; the last two only where they are used."""
        unused = set() if self.labels.label_counts else {"labels"}
        if not self.given:
            unused.add("given")
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in unused
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

    def ages(self, network: Network) -> tuple[int, ...]:
        """Returns the numbers of updates after which a training keeps its network: of donors alone."""
        return self.study.donor_updates if network.name in self._donors else ()

    @functools.cached_property
    def _donors(self) -> frozenset[str]:
        """The names of the networks that are a treatment's donor in some block."""
        return frozenset(block.parts["transfer"].name for block in self.blocks())

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
        kind = GivenBlock if self.given else Block
        return [
            kind(self, architecture, direction, link, replicate)
            for replicate in range(self.study.seeds)
            for architecture in self.architectures
            for link in self.study.links
            for direction in self.study.directions
        ]

    def describe(self) -> str:
        """Describes the networks, blocks and label curves in a few lines."""
        study, networks = self.study, list(self.networks())
        names = networks if len(networks) <= 8 else [*networks[:7], "..."]
        seeds, lines = progress.number(study.seeds, "seed"), []
        if networks:
            lines.append(
                f"{progress.number(len(networks), 'network')} "
                f"({', '.join(self.architectures)}): {', '.join(names)}"
            )
        if self.blocks():
            lines.append(
                f"{progress.number(len(self.blocks()), 'block')}: "
                f"{', '.join(study.directions)}; links {', '.join(study.links)}; {seeds}\n"
                f"groups {', '.join(study.groups)}; sites {', '.join(study.sites)}; "
                f"controls {', '.join(study.controls)}; repairs {', '.join(study.repairs)}"
            )
            if study.donor_updates:
                ages = ", ".join(map(str, study.donor_updates))
                lines.append(f"donors after {ages} updates, besides the finished ones")
        if self.curves():
            counts = ", ".join(str(n or "all") for n in self.labels.label_counts)
            sets = progress.number(len(self.curves()), "set")
            lines.append(
                f"{sets} of label curves: {counts} labels; recipes "
                f"{', '.join(self.labels.recipes)}; donors "
                f"{', '.join(self.labels.donors) or 'none'}; {seeds}"
            )
        return "\n".join(lines)


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
            kind: self._block("").donor(kind)
            for kind in self.specs.labels.donors
            if kind != PRETRAINED
        }

    @property
    def train(self) -> TrainSpec:
        """The training on few labels; no donor has its initial values."""
        first = self._block("").network("segmentation").train
        return dataclasses.replace(
            first, steps=self.specs.labels.label_steps, seed=first.seed + 4 * FAR
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
