"""Units of work, and what runs them: processes here, a Ray cluster, or a job array's tasks.

    units = [Unit("train a", train, (spec,), {"train": spec.to_json()}), ...]
    with contextlib.closing(make(RunnerSpec(runner="ray"), out_dir)) as runner:
        for event in run(units, runner, out_dir, retries=1):
            ...

A unit is a function of its spec, with a directory of its own (`unit`); a runner only has it
carried out somewhere (`local`, `cluster`); `scheduling` knows what needs what and what is tried
again; `gathering` brings together what units recorded. So a run can be stopped anywhere and go
on on another runner. Nothing here knows what a unit does, or imports TensorFlow.
"""

import glob
import os
import pathlib

from tfreuse.runners.cluster import Cluster
from tfreuse.runners.local import Processes
from tfreuse.runners.scheduling import Event, Runner, run
from tfreuse.runners.unit import UNITS, Failure, Folder, Output, Unit, carry_out
from tfreuse.specs.runner import RunnerSpec

__all__ = [
    "UNITS", "Cluster", "Event", "Failure", "Folder", "Output", "Processes", "Runner",
    "RunnerSpec", "Unit", "carry_out", "default_jobs", "make", "run", "threads",
]  # fmt: skip


def make(
    spec: RunnerSpec, out_dir: pathlib.Path, units: int = 1, url: str = ""
) -> Runner:
    """What the spec asks for; `close` it at the end.

    Args:
        spec: on what and how many.
        out_dir: the study's directory.
        units: how many there are to run.
        url: what `out_dir` stands for; see `storage`.
    """
    if spec.runner == "ray":
        return Cluster(out_dir, spec, url)
    jobs = 1 if spec.runner == "index" else spec.jobs or default_jobs(units)
    return Processes(out_dir, jobs, threads(spec, jobs), url)


def threads(spec: RunnerSpec, jobs: int) -> int:
    """CPU threads of a unit of work where `jobs` run on this machine at a time."""
    return spec.unit_cpus or max(1, _cores() // jobs)


def default_jobs(units: int) -> int:
    """Processes at a time: one a CPU core, since small networks do not fill two; or one a GPU."""
    gpus = len(glob.glob("/dev/nvidia[0-9]*"))
    return max(1, min(gpus or _cores(), units))


def _cores() -> int:
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
