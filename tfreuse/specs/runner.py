"""How units of work are run: on what, how many, and what each may take."""

import dataclasses

from tfreuse.errors import InputError
from tfreuse.specs.base import Spec, option

RUNNERS = ("local", "ray", "index")


@dataclasses.dataclass(frozen=True)
class RunnerSpec(Spec):
    """No result depends on it but for `unit_cpus`: other threads sum in another order."""

    runner: str = option(
        "local",
        "local: processes of this machine; ray: a Ray cluster; index: one unit of work, for job "
        "arrays",
        choices=RUNNERS,
    )
    jobs: int = option(
        0,
        "units of work at a time; 0: one a CPU core, or one a GPU; ray: as many as there is "
        "room for",
        low=0,
    )
    retries: int = option(
        1, "times that a unit of work that failed is tried again in this run", low=0
    )
    unit_index: int = option(
        -1,
        "index: which unit of work, from 0; --dry_run tells how many there are",
        low=-1,
    )
    unit_cpus: int = option(
        0,
        "CPU threads of a unit of work; 0: this machine's cores over --jobs; ray: 1. Equal "
        "numbers give equal records",
        low=0,
    )
    unit_gpus: float = option(
        -1.0,
        "ray: GPUs of a unit of work, e.g. 0.5: two share one; -1: 1 where the cluster has any",
        low=-1.0,
    )
    unit_memory: float = option(
        0.0, "ray: memory of a unit of work, in GiB; 0: not asked for", low=0.0
    )
    ray_address: str = option(
        "auto",
        "ray: address of the cluster; auto: the one that runs on this machine; here: one of "
        "this machine alone, which ends with the study",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.unit_index >= 0) != (self.runner == "index"):
            raise InputError(
                "--runner=index and --unit_index=I belong together; got "
                f"--runner={self.runner} and --unit_index={self.unit_index}."
            )
