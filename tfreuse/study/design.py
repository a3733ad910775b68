"""What a study consists of: networks to train, and blocks of arms to measure."""

import dataclasses

from tfreuse import files, roles
from tfreuse.specs import DataSpec, ModelSpec, Spec, StudySpec, TrainSpec


@dataclasses.dataclass(frozen=True)
class Specs:
    """Everything that a study depends on; `train.task` and `train.seed` vary in it."""

    study: StudySpec
    data: DataSpec
    model: ModelSpec
    train: TrainSpec

    def __post_init__(self) -> None:
        for group in self.study.groups:
            roles.expand(group)  # raises InputError if there is no such group

    def named(self) -> dict[str, Spec]:
        """The specs by name, as `study.json` holds them."""
        return {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }

    @property
    def digest(self) -> str:
        """SHA-256 of all specs: the identity of the study."""
        return files.digest(
            {name: spec.to_json() for name, spec in self.named().items()}
        )

    def networks(self) -> dict[str, TrainSpec]:
        """How each network of the study is trained, by its name: task and replicate.

        Networks are independent: no two have the same initial values or data order.
        """
        tasks = sorted(
            {task for name in self.study.directions for task in name.split("-to-")},
            reverse=True,  # segmentation takes longer: start with it
        )
        return {
            f"{task}-{replicate}": dataclasses.replace(
                self.train,
                task=task,
                seed=self.train.seed + replicate * len(tasks) + number,
            )
            for replicate in range(self.study.seeds)
            for number, task in enumerate(tasks)
        }

    def describe(self) -> str:
        """What will be done, in a few lines."""
        networks = ", ".join(self.networks())
        return (
            f"{len(self.networks())} networks ({self.model.architecture}): {networks}\n"
            f"{len(self.blocks())} recipients, {', '.join(self.study.directions)}\n"
            f"groups {', '.join(self.study.groups)}; sites {', '.join(self.study.sites)}; "
            f"controls {', '.join(self.study.controls)}"
        )

    def blocks(self) -> list["Block"]:
        """The blocks of arms: one a direction and replicate."""
        return [
            Block(self, direction, replicate)
            for replicate in range(self.study.seeds)
            for direction in self.study.directions
        ]


@dataclasses.dataclass(frozen=True)
class Block:
    """All arms of one recipient."""

    specs: Specs
    direction: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.direction}-{self.seed}"

    @property
    def tasks(self) -> tuple[str, str]:
        """Donor's task and recipient's task."""
        donor, recipient = self.direction.split("-to-")
        return donor, recipient

    @property
    def networks(self) -> dict[str, str]:
        """Names of the trained networks that the block needs, by the part they play."""
        donor, recipient = self.tasks
        other = (self.seed + 1) % self.specs.study.seeds
        return {
            "recipient": f"{recipient}-{self.seed}",
            "transfer": f"{donor}-{self.seed}",
            "other_seed": f"{recipient}-{other}",
        }
