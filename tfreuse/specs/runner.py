"""Settings of the runner: where units of work run, how many at a time, and their resources."""

import dataclasses

from tfreuse.errors import InputError
from tfreuse.specs.base import Spec, option

RUNNERS = ("local", "ray", "index")


@dataclasses.dataclass(frozen=True)
class RunnerSpec(Spec):
    """Processes or a cluster for a study's units of work.

    Records are the same on every runner for the same `unit_cpus`: another number of threads
    adds numbers up in another order.
    """

    runner: str = option(
        "local",
        "local: processes on this machine; ray: a Ray cluster; index: one unit of work, for job "
        "arrays",
        choices=RUNNERS,
    )
    jobs: int = option(
        0,
        "units of work at a time; 0: one for each CPU core, or for each GPU; ray: as many as "
        "fit into the cluster",
        low=0,
    )
    retries: int = option(
        1, "times that a failed unit of work is tried again in this run", low=0
    )
    unit_index: int = option(
        -1,
        "index: number of the unit of work, from 0; --dry_run prints how many there are",
        low=-1,
    )
    unit_cpus: int = option(
        0,
        "CPU threads of a unit of work; 0: this machine's cores divided by --jobs; ray: 1. "
        "Records are equal only for equal numbers of threads",
        low=0,
    )
    unit_gpus: float = option(
        -1.0,
        "ray: GPUs of a unit of work; 0.5: two units share a GPU; -1: 1 if the cluster has any",
        low=-1.0,
    )
    unit_memory: float = option(
        0.0, "ray: memory to reserve for a unit of work, in GiB; 0: none", low=0.0
    )
    ray_address: str = option(
        "auto",
        "ray: address of the cluster; auto: the cluster that runs on this machine; here: a new "
        "one on this machine alone, which ends with the study",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.unit_index >= 0) != (self.runner == "index"):
            raise InputError(
                "--runner=index and --unit_index=I belong together; got "
                f"--runner={self.runner} and --unit_index={self.unit_index}."
            )
