"""Computes results in forked processes, which share the memory of this one.

    jobs = [functools.partial(draw, part) for part in parts]
    for drawing in forks.results(jobs):  # in the order of the jobs
        ...

For work of Python alone, such as drawing, on data that would take longer to send than to draw.
Only numbers go in by the fork, and results come back through a pipe.
"""

import contextlib
import gc
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

_MOST = 4  # processes: each may come to hold a copy of much of the memory


def results(jobs: Sequence[Callable[[], Any]]) -> Iterator[Any]:
    """Yields what each job returns, in order; an exception of a job is raised here.

    Job k runs in process k mod n, ahead of the caller by as much as a pipe holds. Jobs run in
    this process, one by one, where a fork gains nothing or is not safe (`_processes`), and so
    do those of a process that was killed. Closing the iterator ends the processes.

    Args:
        jobs: each returns a value that can be pickled; neighbours take about as long.
    """
    count = min(_processes(), len(jobs))
    if count < 2:
        for job in jobs:
            yield job()
        return
    children: list[_Child] = []
    try:
        for first in range(count):
            children.append(_Child(jobs[first::count], children))
        for number, job in enumerate(jobs):
            yield children[number % count].result(job)
    finally:
        for child in children:
            child.end()


def _processes() -> int:
    """Returns how many processes to fork; 1 where another thread could hold a lock for ever."""
    safe = sys.platform == "linux" and threading.active_count() == 1
    if not safe or "tensorflow" in sys.modules:
        return 1
    return min(len(os.sched_getaffinity(0)), _MOST)


class _Child:
    """A process that carries out jobs, as far ahead as its pipe holds results.

    It needs no supervision: it never reads, and dies of its pipe once this process is gone.

    Args:
        jobs: whose results are asked for in order.
        siblings: children forked before, whose pipes this one must not keep open.
    """

    def __init__(
        self, jobs: Sequence[Callable[[], Any]], siblings: Sequence["_Child"]
    ) -> None:
        source, target = os.pipe()
        self._results: BinaryIO | None = os.fdopen(source, "rb")
        gc.freeze()  # or the child's first collection would copy all objects
        with warnings.catch_warnings():
            # Python 3.12 warns of OpenBLAS's threads, which wait, and which OpenBLAS starts anew
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = os.fork()
        if self._process == 0:
            for child in (self, *siblings):
                os.close(child._results.fileno())
            _carry_out(jobs, target)
        gc.unfreeze()
        os.close(target)

    def result(self, job: Callable[[], Any]) -> Any:
        """Returns the result of the next job, carried out here if the process has died."""
        if self._results is not None:
            try:
                done, value = pickle.load(self._results)
            except (EOFError, pickle.UnpicklingError):  # killed, perhaps for memory
                self.end()
            else:
                if done:
                    return value
                raise value
        return job()

    def end(self) -> None:
        """Ends the process, whatever it does."""
        if self._results is None:
            return
        self._results.close()
        self._results = None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._process, 0)


def _carry_out(jobs: Sequence[Callable[[], Any]], target: int) -> None:
    """Writes the results of jobs to a pipe; never returns."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
        with os.fdopen(target, "wb") as file:
            for job in jobs:
                try:
                    answer = True, job()
                except Exception as error:  # noqa: BLE001 - the parent raises it
                    answer = False, error
                pickle.dump(answer, file, pickle.HIGHEST_PROTOCOL)
                file.flush()
                if not answer[0]:
                    break
    finally:
        os._exit(0)  # what this process would do at its end is the parent's to do
