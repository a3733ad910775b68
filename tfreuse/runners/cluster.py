"""Runs units on a Ray cluster; Ray only places tasks and reports when they end.

Each unit gets a new worker process (`max_calls=1`), so that a GPU's memory is freed at its end.
All nodes need the study's directory and the data under the same paths, and the same versions of
the packages.
"""

import logging
import os
import pathlib
import platform
import re
import socket
import time
from typing import Any

from tfreuse import rundir
from tfreuse.errors import InputError, printable
from tfreuse.runners.unit import Failure, Unit, carry_out
from tfreuse.specs.runner import RunnerSpec

_REFRESH = 5.0  # seconds between two queries of the cluster's size
_TIMEOUT = 10.0  # seconds until the cluster must answer
_QUEUED = (
    2  # tasks submitted per task that fits: workers then need not wait for the driver
)


class Cluster:
    """Runner on an existing Ray cluster, or on one that lives as long as this process.

    Args:
        out_dir: the study's directory, under the path that every node sees.
        spec: address of the cluster, and resources of a unit.
        url: URL that `out_dir` mirrors, if any; see `storage`.
        calls: units per worker process; 0: unlimited. More than one saves starting processes,
            and does not free a GPU's memory in between.

    Raises:
        InputError: Ray is not installed, no cluster answers, or no node fits a unit.
    """

    def __init__(
        self, out_dir: pathlib.Path, spec: RunnerSpec, url: str = "", calls: int = 1
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise InputError(
                "--runner=ray needs Ray, which is not installed: pip install 'tfreuse[ray]'."
            ) from None
        self._ray, self._out_dir, self._url, self._jobs = ray, out_dir, url, spec.jobs
        self.dashboard = _connect(ray, spec.ray_address)
        self._cpus = spec.unit_cpus or 1
        has_gpu = ray.cluster_resources().get("GPU", 0) >= 1
        gpus = spec.unit_gpus if spec.unit_gpus >= 0 else float(has_gpu)
        memory = int(spec.unit_memory * 2**30)  # bytes
        self._resources = {"CPU": self._cpus, "GPU": gpus, "memory": memory}
        # no retries by Ray: the scheduler counts them, and records why a unit failed
        self._task = ray.remote(max_calls=calls, max_retries=0)(_work).options(
            num_cpus=self._cpus,
            num_gpus=gpus,
            memory=memory or None,
            scheduling_strategy="SPREAD",
        )
        self._running: dict[Any, Unit] = {}
        self._slots, self._refreshed = 0, -_REFRESH
        if not self._capacity():
            resources = ", ".join(
                f"{amount:g} {name}"
                for name, amount in self._resources.items()
                if amount
            )
            self.close()
            raise InputError(
                f"no node of the cluster has room for a unit of work ({resources}); see "
                "--unit_cpus, --unit_gpus and --unit_memory."
            )

    @property
    def slots(self) -> int:
        now = time.monotonic()
        if now - self._refreshed >= _REFRESH:
            self._refreshed = now
            # at least 1: a cluster that lost its last node may get another
            self._slots = max(1, self._capacity())
        return self._jobs or _QUEUED * self._slots

    def start(self, unit: Unit) -> None:
        ref = self._task.remote(
            unit,
            self._out_dir,
            self._url,
            int(self._cpus),
            os.getcwd(),
            rundir.versions(),
        )
        self._running[ref] = unit

    def wait(self, seconds: float) -> list[tuple[Unit, Failure | None]]:
        refs = list(self._running)
        ended, _ = self._ray.wait(refs, num_returns=1, timeout=seconds)
        if ended:  # collect all that have ended by now
            ended, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return [(self._running.pop(ref), self._outcome(ref)) for ref in ended]

    def close(self) -> None:
        for ref in self._running:
            self._ray.cancel(ref, force=True)
        self._running.clear()
        self._ray.shutdown()

    def _outcome(self, ref: Any) -> Failure | None:
        """Returns why a task that has ended failed; None if its unit is done."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except (
            errors.RayTaskError
        ) as error:  # raised before `carry_out`, which catches all
            return Failure(printable(error.cause or error, 300), str(error))
        except (errors.RayError, OSError) as error:
            first = re.split(r"\n|\. ", str(error).strip())[0]
            message = (
                f"its worker or its node was lost ({type(error).__name__}: {first})"
            )
            return Failure(printable(message, 300), str(error), lost=True)

    def _capacity(self) -> int:
        """Returns the number of units that all nodes together can run at a time."""
        return sum(
            min(
                int(node["Resources"].get(name, 0) / amount)
                for name, amount in self._resources.items()
                if amount
            )
            for node in self._ray.nodes()
            if node["Alive"]
        )


def _connect(ray, address: str) -> str:
    """Connects to the cluster; returns the address of its dashboard, "" if it has none."""
    try:
        if ":" in address:  # Ray itself would try to connect for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=_TIMEOUT).close()
        context = ray.init(
            address=None if address == "here" else address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            include_dashboard=None,
        )
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        first = printable(str(error).strip().partition("\n")[0], 200)
        raise InputError(
            f"no Ray cluster answers at --ray_address={printable(address)} ({first}). Start one "
            "with `ray start --head` and on every other node `ray start --address=HEAD:6379`, "
            "both with the token of docs/cluster.md, or give --ray_address=here for this "
            "machine alone."
        ) from None
    return str(context.dashboard_url or "")


def _work(
    unit: Unit,
    out_dir: pathlib.Path,
    url: str,
    threads: int,
    folder: str,
    versions: dict[str, str],
) -> Failure | None:
    """Carries out a unit in a Ray worker, if the node has the right versions and files.

    Args:
        folder: working directory of the driver.
        versions: of packages, in the driver.
    """
    import ray

    name = f"{platform.node()}/{ray.get_runtime_context().get_node_id()[:6]}"
    for package, version in rundir.versions().items():
        if version != versions[package]:
            return Failure(
                f"{name} has {package} {version}, the study runs with {versions[package]}: "
                "install the same on every node.",
                node=name,
                final=True,
            )
    if not url and not out_dir.is_dir():
        return Failure(
            f"{name} does not see {printable(out_dir)}: --out_dir must be on storage that all "
            "nodes share under the same path, or a URL.",
            node=name,
            final=True,
        )
    if os.path.isdir(folder):
        os.chdir(folder)  # relative paths in specs count from there
    return carry_out(unit, out_dir, threads, name, url)
