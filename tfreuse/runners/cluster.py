"""Runs units on a Ray cluster; Ray only places workers, and reports when a unit has ended.

A worker (`worker`) is an actor. One without a GPU gets a unit like its last one where one waits;
one with a GPU ends with its unit, so that the GPU's memory is freed. All nodes need the study's
directory and the data under the same paths, and the same versions of the packages.
"""

import logging
import os
import pathlib
import platform
import re
import socket
import time
from typing import Any, NamedTuple

from tfreuse import rundir
from tfreuse.errors import InputError, printable
from tfreuse.runners.unit import Failure, Unit
from tfreuse.runners.worker import Worker, largest, take_most_alike
from tfreuse.specs.runner import RunnerSpec

_REFRESH = 5.0  # seconds between two queries of the cluster's size
_TIMEOUT = 10.0  # seconds until the cluster must answer
_IDLE = 10.0  # seconds after which a worker without a unit gives its resources back


class _Actor(NamedTuple):
    """The driver's side of a worker."""

    handle: Any
    unit: Unit  # that it carries out, or has carried out last
    idle_since: float = 0.0


class Cluster:
    """Runner on an existing Ray cluster, or on one that lives as long as this process.

    Args:
        out_dir: the study's directory, under the path that every node sees.
        spec: address of the cluster, and resources of a unit.
        url: URL that `out_dir` mirrors, if any; see `storage`.

    Raises:
        InputError: Ray is not installed, no cluster answers, or no node fits a unit.
    """

    def __init__(self, out_dir: pathlib.Path, spec: RunnerSpec, url: str = "") -> None:
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
        # no restarts by Ray: the scheduler counts retries, and records why a unit failed
        self._actors = ray.remote(max_restarts=0)(_NodeWorker).options(
            num_cpus=self._cpus,
            num_gpus=gpus,
            memory=memory or None,
            scheduling_strategy="SPREAD",
        )
        self._keeps = not gpus
        self._running: dict[Any, _Actor] = {}
        self._idle: list[_Actor] = []
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
        return self._jobs or self._slots

    def start(self, unit: Unit) -> None:
        if self._idle:
            actor = take_most_alike(self._idle, unit)._replace(unit=unit)
        else:
            threads, memory = self._resources["CPU"], self._resources["memory"]
            actor = _Actor(self._actors.remote(int(threads), memory), unit)
        ref = actor.handle.carry_out.remote(
            unit, self._out_dir, self._url, os.getcwd(), rundir.versions()
        )
        self._running[ref] = actor

    def wait(self, seconds: float) -> list[tuple[Unit, Failure | None]]:
        self._end_idle()
        refs = list(self._running)
        ended, _ = self._ray.wait(refs, num_returns=1, timeout=seconds)
        if ended:  # collect all that have ended by now
            ended, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return [self._outcome(ref, self._running.pop(ref)) for ref in ended]

    def close(self) -> None:
        for actor in (*self._running.values(), *self._idle):
            self._ray.kill(actor.handle)
        self._running.clear()
        self._idle.clear()
        self._ray.shutdown()

    def _end_idle(self) -> None:
        """Ends workers that no unit was ready for, so that other work gets their processors."""
        before = time.monotonic() - _IDLE
        for actor in [actor for actor in self._idle if actor.idle_since < before]:
            self._idle.remove(actor)
            self._ray.kill(actor.handle)

    def _outcome(self, ref: Any, actor: _Actor) -> tuple[Unit, Failure | None]:
        """Returns a unit that has ended and why it failed; keeps its worker, or ends it."""
        failure, goes_on = self._result(ref)
        if goes_on and self._keeps:
            self._idle.append(actor._replace(idle_since=time.monotonic()))
        else:
            self._ray.kill(actor.handle)
        return actor.unit, failure

    def _result(self, ref: Any) -> tuple[Failure | None, bool]:
        """Returns why a unit failed, None if it is done, and whether its worker can go on."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except (
            errors.RayTaskError
        ) as error:  # raised before `carry_out`, which catches all
            return Failure(printable(error.cause or error, 300), str(error)), False
        except (errors.RayError, OSError) as error:
            first = re.split(r"\n|\. ", str(error).strip())[0]
            message = (
                f"its worker or its node was lost ({type(error).__name__}: {first})"
            )
            return Failure(printable(message, 300), str(error), lost=True), False

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


class _NodeWorker:
    """A worker on a node that has the right versions and files.

    Args:
        threads: CPU threads of a unit.
        memory: bytes that Ray reserved for it; 0: none.
    """

    def __init__(self, threads: int, memory: int) -> None:
        slots = max(1, (os.cpu_count() or 1) // threads)
        self._worker = Worker(min(largest(slots), memory or float("inf")))
        self._threads = threads

    def carry_out(
        self,
        unit: Unit,
        out_dir: pathlib.Path,
        url: str,
        folder: str,
        versions: dict[str, str],
    ) -> tuple[Failure | None, bool]:
        """Returns why the unit failed, if so, and whether this worker can go on.

        Args:
            unit: the unit.
            out_dir: the study's directory.
            url: URL that `out_dir` mirrors, if any.
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
                ), False
        if not url and not out_dir.is_dir():
            return Failure(
                f"{name} does not see {printable(out_dir)}: --out_dir must be on storage that "
                "all nodes share under the same path, or a URL.",
                node=name,
                final=True,
            ), False
        if os.path.isdir(folder):
            os.chdir(folder)  # relative paths in specs count from there
        return self._worker.carry_out(unit, out_dir, self._threads, name, url)
