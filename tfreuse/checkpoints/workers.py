"""Runs many small jobs in threads, which helps where the jobs release Python's GIL.

    checksums = workers.run([lambda memory: ..., ...], size=2**20)

File reads and writes, checksums and NumPy's loops release it.
"""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

_MAX_THREADS = 4  # more are limited by memory bandwidth


def run(jobs: Sequence[Callable[[memoryview], Any]], size: int = 0) -> list[Any]:
    """Calls each job and returns their results in order; the first exception stops the rest.

    Args:
        jobs: called in any order and by any thread, each with a buffer for its use.
        size: bytes of that buffer.
    """
    numbers = iter(range(len(jobs)))  # shared: the GIL gives each number to one thread
    stopped = threading.Event()
    results: list[Any] = [None] * len(jobs)

    def work() -> None:
        buffer = memoryview(bytearray(size))
        try:
            for number in numbers:
                if stopped.is_set():
                    return
                results[number] = jobs[number](buffer)
        except BaseException:
            stopped.set()
            raise

    errors: list[BaseException] = []

    def help_out() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            errors.append(error)

    # no pool of concurrent.futures: importing it takes longer than a small transplant
    helpers = []
    try:
        for _ in range(_helpers(len(jobs))):
            helper = threading.Thread(target=help_out)
            helper.start()
            helpers.append(helper)
        work()
    finally:  # Ctrl-C raises in this thread only: stop the helpers too
        stopped.set()
        _wait(helpers)
    if errors:
        raise errors[0]
    return results


def _helpers(jobs: int) -> int:
    """Returns the number of threads beside the caller's; 0 if starting them costs more."""
    has_affinity = hasattr(os, "sched_getaffinity")
    processors = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(_MAX_THREADS, processors, 1 + jobs // 16) - 1


def _wait(helpers: Sequence[threading.Thread]) -> None:
    """Waits for the helpers, despite further Ctrl-C: the caller closes their files next."""
    interrupted = None
    for helper in helpers:
        while helper.is_alive():
            try:
                helper.join()
            except KeyboardInterrupt as error:
                interrupted = error
    if interrupted is not None:
        raise interrupted
