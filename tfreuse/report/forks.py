"""Computes results in forked processes, which share the memory of this one.

    jobs = [functools.partial(draw, part) for part in parts]
    for drawing in forks.results(jobs):  # in the order of the jobs
        ...

For work of Python alone, such as drawing, on data that would take longer to send than to draw:
nothing is sent to a forked process, and results come back through a pipe.
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
    """Yields the result of each job, in order; an exception of a job is raised here.

    Job k runs in process k mod n, ahead of the caller by as much as a pipe holds. Jobs run in
    this process, one by one, where a fork gains nothing or is not safe (`_processes`), and so
    do those of a process that was killed. Closing the iterator ends the processes.

    Args:
        jobs: each returns a value that can be pickled; neighbours take about as long.
    """
    count = min(_processes(), len(jobs))
    children = _forked(jobs, count) if count > 1 else []
    try:
        for number, job in enumerate(jobs):
            yield children[number % len(children)].result(job) if children else job()
    finally:
        for child in children:
            child.end()


def _processes() -> int:
    """Returns how many processes to fork; 1 where another thread could hold a lock for ever."""
    safe = sys.platform == "linux" and threading.active_count() == 1
    if not safe or "tensorflow" in sys.modules:
        return 1
    return min(len(os.sched_getaffinity(0)), _MOST)


def _forked(jobs: Sequence[Callable[[], Any]], count: int) -> list["_Child"]:
    """Returns `count` processes that share the jobs; none where the system refuses."""
    children: list[_Child] = []
    gc.freeze()  # or the first collection of a child would copy all objects
    try:
        for first in range(count):
            children.append(_Child(jobs[first::count], children))
    except OSError:  # too many processes or open files
        for child in children:
            child.end()
        return []
    finally:
        gc.unfreeze()
    return children


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
        try:
            self._process = _fork()
            if self._process == 0:
                _carry_out(jobs, target, [self, *siblings])
        except OSError:
            self._results.close()
            raise
        finally:
            os.close(target)

    def result(self, job: Callable[[], Any]) -> Any:
        """Returns the result of the next job, carried out here if the process has ended."""
        if self._results is not None:
            try:
                return pickle.load(self._results)
            except (EOFError, pickle.UnpicklingError):
                self.end()  # killed, perhaps for memory; or the job failed, as it will here
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


def _fork() -> int:
    """Forks a process that Ctrl-C does not reach: it is the parent's to handle."""
    process = -1
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of OpenBLAS's threads, which wait, and which OpenBLAS starts anew
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
    finally:
        if process != 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return process


def _carry_out(
    jobs: Sequence[Callable[[], Any]], target: int, children: Sequence[_Child]
) -> None:
    """Writes the results of jobs to a pipe until one fails; never returns."""
    try:
        for child in children:  # or a pipe would outlive the parent
            os.close(child._results.fileno())
        with os.fdopen(target, "wb") as file:
            for job in jobs:
                pickle.dump(job(), file, pickle.HIGHEST_PROTOCOL)
                file.flush()
    finally:
        os._exit(0)  # buffers and exit handlers are the parent's
