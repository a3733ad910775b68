"""Runs units of work: in local processes, on a Ray cluster, or as tasks of a job array.

    units = [Unit("train a", train, (spec,), {"train": spec.to_json()}), ...]
    with contextlib.closing(make(RunnerSpec(runner="ray"), out_dir)) as runner:
        for event in run(units, runner, out_dir, retries=1):
            ...

A unit is a function of its spec with its own directory, which holds all its state (`unit`). A
runner executes units in workers (`local`, `cluster`); the scheduler handles dependencies and
retries (`scheduling`); `gathering` merges the records of all units. So a run can be stopped at
any moment and continue on another runner. Nothing here depends on the content of a unit, or
imports TensorFlow.
"""

import glob
import os
import pathlib

from tfreuse.runners.cache import Cache
from tfreuse.runners.cluster import Cluster
from tfreuse.runners.local import Processes
from tfreuse.runners.scheduling import Event, Runner, run
from tfreuse.runners.unit import UNITS, Failure, Folder, Output, Unit, carry_out
from tfreuse.specs.runner import RunnerSpec

__all__ = [
    "UNITS", "Cache", "Cluster", "Event", "Failure", "Folder", "Output", "Processes", "Runner",
    "RunnerSpec", "Unit", "carry_out", "default_jobs", "make", "run", "threads",
]  # fmt: skip


def make(
    spec: RunnerSpec,
    out_dir: pathlib.Path,
    units: int = 1,
    url: str = "",
    preload: str = "",
) -> Runner:
    """Returns the runner of the spec; the caller closes it.

    Args:
        spec: kind of runner, and number of jobs.
        out_dir: the study's directory.
        units: number of units to run.
        url: URL that `out_dir` mirrors, if any; see `storage`.
        preload: name of a module that imports the packages of all units, for local processes.
    """
    if spec.runner == "ray":
        return Cluster(out_dir, spec, url)
    jobs = 1 if spec.runner == "index" else spec.jobs or default_jobs(units)
    return Processes(out_dir, jobs, threads(spec, jobs), url, preload)


def threads(spec: RunnerSpec, jobs: int) -> int:
    """Returns the CPU threads of each unit if this machine runs `jobs` units at a time."""
    return spec.unit_cpus or max(1, _cores() // jobs)


def default_jobs(units: int) -> int:
    """Returns the number of parallel processes: one per GPU, or per CPU core without GPUs.

    One core is enough for a unit: small networks hardly use a second one.
    """
    gpus = len(glob.glob("/dev/nvidia[0-9]*"))
    return max(1, min(gpus or _cores(), units))


def _cores() -> int:
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )
