"""Many small jobs on all processors: they must let go of Python while they work.

    checksums = workers.run([lambda memory: ..., ...], size=2**20)

Reading, writing, checksums and NumPy's loops do.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

_MOST = 4  # threads; more would wait for the memory


def run(jobs: Sequence[Callable[[memoryview], Any]], size: int = 0) -> list[Any]:
    """What each job gives, in their order; the first that fails stops the others.

    Args:
        jobs: called in any order and by any thread, each with memory to work in.
        size: bytes of that memory.
    """
    numbers = iter(range(len(jobs)))  # whose steps no two threads take
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

    helpers = _helpers(len(jobs))
    with futures.ThreadPoolExecutor(max(1, helpers)) as pool:
        others = []
        try:
            others += [pool.submit(work) for _ in range(helpers)]
            work()
        finally:  # Ctrl-C comes to this thread: the others shall not go on
            stopped.set()
            _wait(others)
    for other in others:
        other.result()
    return results


def _helpers(jobs: int) -> int:
    """Threads beside the caller's; none where starting them would take longer."""
    known = hasattr(os, "sched_getaffinity")
    processors = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return min(_MOST, processors, 1 + jobs // 16) - 1


def _wait(others: Sequence[futures.Future]) -> None:
    """Waits for all, through a second Ctrl-C too: they write to files that close next."""
    interrupted = None
    while not all(other.done() for other in others):
        try:
            futures.wait(others)
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
