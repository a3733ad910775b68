"""Runs units on a Ray cluster, which only places them and tells when one has ended.

Every unit has a worker process of its own (`max_calls=1`), so that a GPU's memory is given back
at its end. All nodes must see the study's directory, and the data, under the same path, and have
the same versions installed.
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

_LOOK = 5.0  # seconds between two looks at how large the cluster is
_ANSWER = 10.0  # seconds that a cluster may take to answer
_AHEAD = 2  # units given to it for each that it can run: none waits for the driver


class Cluster:
    """A Ray cluster that runs already, or one that lives as long as this process.

    Args:
        out_dir: the study's directory, as every node sees it.
        spec: the cluster's address, and what a unit needs of a node.
        url: what it stands for, if it is elsewhere; see `storage`.
        calls: units that a worker process does before it ends; 0: as many as come. More than
            one saves the start of a process, and keeps a GPU's memory.

    Raises:
        InputError: Ray is not installed, no cluster answers, or it has no room for a unit.
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
        gpus = spec.unit_gpus if spec.unit_gpus >= 0 else float(_has(ray, "GPU"))
        self._needs = {"CPU": self._cpus, "GPU": gpus}
        self._needs["memory"] = int(spec.unit_memory * 2**30)
        self._task = ray.remote(max_calls=calls, max_retries=0)(_work).options(
            num_cpus=self._cpus,
            num_gpus=gpus,
            memory=self._needs["memory"] or None,
            scheduling_strategy="SPREAD",
        )
        self._running: dict[Any, Unit] = {}
        self._slots, self._looked = 0, -_LOOK
        if not self._room():
            wanted = ", ".join(f"{n:g} {what}" for what, n in self._needs.items() if n)
            self.close()
            raise InputError(
                f"no node of the cluster has room for a unit of work ({wanted}); see "
                "--unit_cpus, --unit_gpus and --unit_memory."
            )

    @property
    def slots(self) -> int:
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._looked = now
            # a cluster that lost its last node may get another
            self._slots = max(1, self._room())
        return self._jobs or _AHEAD * self._slots

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
        some, _ = self._ray.wait(refs, num_returns=1, timeout=seconds)
        if some:  # and whatever else has ended by now
            some, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return [(self._running.pop(ref), self._outcome(ref)) for ref in some]

    def close(self) -> None:
        for ref in self._running:
            self._ray.cancel(ref, force=True)
        self._running.clear()
        self._ray.shutdown()

    def _outcome(self, ref: Any) -> Failure | None:
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:  # before the unit itself began
            return Failure(printable(error.cause or error, 300), str(error))
        except (errors.RayError, OSError) as error:
            first = re.split(r"\n|\. ", str(error).strip())[0]
            what = f"its worker or its node was lost ({type(error).__name__}: {first})"
            return Failure(printable(what, 300), str(error), lost=True)

    def _room(self) -> int:
        """Units that the nodes have room for at a time."""
        return sum(
            min(
                int(one["Resources"].get(what, 0) / wanted)
                for what, wanted in self._needs.items()
                if wanted
            )
            for one in self._ray.nodes()
            if one["Alive"]
        )


def _connect(ray, address: str) -> str:
    """Joins the cluster at the address; gives the dashboard's address, "" if it has none."""
    try:
        if ":" in address:  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=_ANSWER).close()
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
            "both with the token that docs/cluster.md tells of, or give --ray_address=here for this machine alone."
        ) from None
    return str(context.dashboard_url or "")


def _has(ray, what: str) -> bool:
    return ray.cluster_resources().get(what, 0) >= 1


def _work(
    unit: Unit,
    out_dir: pathlib.Path,
    url: str,
    threads: int,
    folder: str,
    versions: dict[str, str],
) -> Failure | None:
    """A task of Ray's: does the unit in this worker, if the node can."""
    import ray

    name = f"{platform.node()}/{ray.get_runtime_context().get_node_id()[:6]}"
    for package, own in rundir.versions().items():
        if own != versions[package]:
            return Failure(
                f"{name} has {package} {own}, and the study is run with {versions[package]}: "
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
        os.chdir(folder)  # relative paths are the driver's
    return carry_out(unit, out_dir, threads, name, url)
