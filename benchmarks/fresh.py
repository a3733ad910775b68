"""Runs measurements in fresh processes, in interleaved rounds, on a quiet machine."""

import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

QUIET = 0.1  # of the processors, taken by others: more than this disturbs a run
WAIT = 10.0  # seconds to wait for a quiet machine before a run
_LOOK = 0.5  # seconds
ROOT = str(pathlib.Path(__file__).parents[1])  # where `benchmarks` is imported from


def last_line(
    module: str,
    words: Sequence,
    timeout: float | None = None,
    root: str | os.PathLike = ROOT,
) -> str:
    """Returns the last line that `python -m module words...` prints in the checkout `root`.

    Raises:
        subprocess.SubprocessError: it takes over `timeout` seconds, or fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        env=environment(root),
        cwd=None if root == ROOT else root,  # Python imports from there first
        check=True,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return done.stdout.strip().rpartition("\n")[2]


def environment(root: str | os.PathLike = ROOT) -> dict[str, str]:
    """Returns the environment variables of a measured process.

    Modules are compiled once, as where they are installed, even if this process may not write
    them (as in many containers): compiling takes as long as importing.

    Args:
        root: checkout whose packages it imports.
    """
    variables = dict(os.environ)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    path = os.pathsep.join(filter(None, [str(root), variables.get("PYTHONPATH")]))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    return {**variables, **quiet, "PYTHONPATH": path}


def run_json(
    module: str, words: Sequence, timeout: float, root: str | os.PathLike = ROOT
) -> dict:
    """Returns the JSON in the last line that the process prints, or {"error": reason}."""
    try:
        return json.loads(last_line(module, words, timeout, root))
    except subprocess.TimeoutExpired:
        return {"error": f"takes over {timeout:g} s"}
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines() or ["no message"]
        return {"error": f"failed: {last[-1][:200]}"}


def peak() -> float:
    """Returns the peak memory of this process so far in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def turns(jobs: Sequence, rounds: int, minutes: float) -> Iterator[tuple]:
    """Yields (round, job): all jobs once per round, shuffled anew in each.

    The job before leaves more or less memory free, so that no job should always follow the
    same one. No round starts once `minutes` are over.
    """
    begin, jobs = time.monotonic(), list(jobs)
    for round_ in range(rounds):
        if round_ and time.monotonic() - begin > 60 * minutes:
            return
        random.Random(round_).shuffle(jobs)
        yield from ((round_, job) for job in jobs)


def wait_for_quiet() -> None:
    """Waits until other processes use at most QUIET of the processors, or `WAIT` seconds."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        load = OtherLoad()
        time.sleep(_LOOK)
        if load.share() <= QUIET:
            return


class OtherLoad:
    """Measures the share of the processors that other processes use, from now on."""

    def __init__(self) -> None:
        self._before = self._now()

    def share(self) -> float:
        """Returns 0 to 1. Processes that wait for a processor are not counted."""
        busy, idle, this_process = (
            b - a for a, b in zip(self._before, self._now(), strict=True)
        )
        return max(0.0, busy - this_process) / max(busy + idle, 1e-9)

    def _now(self) -> tuple[float, float, float]:
        """Returns seconds of all processors: busy, idle, and busy with this process."""
        words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, idle, wait, *interrupts = (float(word) for word in words)
        tick = os.sysconf("SC_CLK_TCK")
        busy = (user + nice + system + sum(interrupts[:3])) / tick
        return busy, (idle + wait) / tick, sum(os.times()[:4])
