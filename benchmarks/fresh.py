"""Runs in processes of their own, in turns, and again where other work disturbed them."""

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
_ROOT = str(pathlib.Path(__file__).parents[1])  # where `benchmarks` is imported from


def last_line(module: str, words: Sequence, timeout: float | None = None) -> str:
    """What `python -m module words...` prints last.

    Raises:
        subprocess.SubprocessError: it takes over `timeout` seconds, or fails.
    """
    path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        env={**os.environ, **quiet, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return done.stdout.strip().rpartition("\n")[2]


def found(module: str, words: Sequence, timeout: float) -> dict:
    """The JSON that the process prints last; or {"error": why there is none}."""
    try:
        return json.loads(last_line(module, words, timeout))
    except subprocess.TimeoutExpired:
        return {"error": f"takes over {timeout:g} s"}
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines() or ["no message"]
        return {"error": f"failed: {last[-1][:200]}"}


def peak() -> float:
    """Most memory that this process has held so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def turns(jobs: Sequence, rounds: int, minutes: float) -> Iterator[tuple]:
    """(round, job): all jobs once a round, in another order each time.

    What ran just before leaves more or less memory free, so nobody has one neighbour. No
    round starts once `minutes` are over.
    """
    begin, jobs = time.monotonic(), list(jobs)
    for round_ in range(rounds):
        if round_ and time.monotonic() - begin > 60 * minutes:
            return
        random.Random(round_).shuffle(jobs)
        yield from ((round_, job) for job in jobs)


def wait_for_quiet() -> None:
    """Returns when other work leaves the processors alone, or after `WAIT` seconds."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        others = Others()
        time.sleep(_LOOK)
        if others.share() <= QUIET:
            return


class Others:
    """How much of the processors other processes take, from now until `share` is asked."""

    def __init__(self) -> None:
        self._before = self._now()

    def share(self) -> float:
        """0 to 1. A process that waits for a processor makes it no smaller: it is busy."""
        busy, idle, own = (
            b - a for a, b in zip(self._before, self._now(), strict=True)
        )
        return max(0.0, busy - own) / max(busy + idle, 1e-9)

    def _now(self) -> tuple[float, float, float]:
        """Seconds, of all processors: busy, idle, and busy with this process's work."""
        words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, idle, wait, *rest = (float(word) for word in words)
        tick = os.sysconf("SC_CLK_TCK")
        busy = (user + nice + system + sum(rest[:3])) / tick
        return busy, (idle + wait) / tick, sum(os.times()[:4])
