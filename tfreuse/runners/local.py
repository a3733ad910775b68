"""Runs units in local worker processes, which carry out one unit after another.

A worker (`worker`) gets a unit like its last one where one waits. When the driver dies, even by
kill -9, its workers end too. Workers are forked from a server process that has imported the
packages of all units, so that TensorFlow's import is paid for once.
"""

import contextlib
import glob
import multiprocessing
import os
import pathlib
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import connection
from multiprocessing.context import BaseContext
from typing import Any, NamedTuple

from tfreuse.runners.unit import Failure, Unit
from tfreuse.runners.worker import Worker, largest, take_most_alike

_BLAS_THREADS = "OMP_NUM_THREADS"  # read when NumPy is imported
_SERVER: dict[str, tuple[str, int]] = {}  # module and threads that it was asked for


class _Worker(NamedTuple):
    pipe: connection.Connection  # units go in, failures come out
    process: Any
    unit: Unit  # that it carries out, or has carried out last


class Processes:
    """Runner with `slots` processes at a time, each with `threads` CPU threads.

    `preload` names a module that imports the packages of all units.
    """

    def __init__(
        self,
        out_dir: pathlib.Path,
        slots: int,
        threads: int,
        url: str = "",
        preload: str = "",
    ) -> None:
        self.slots = slots
        self._threads = threads
        self._arguments = (largest(slots), out_dir, threads, platform.node(), url)
        self._context = _context(preload, threads)
        self._running: dict[connection.Connection, _Worker] = {}
        self._idle: list[_Worker] = []

    def start(self, unit: Unit) -> None:
        worker = self._take_idle(unit) or self._new_worker(unit)
        try:
            worker.pipe.send(unit)
        except ConnectionError:  # it has just died
            worker.pipe.close()
            worker = self._new_worker(unit)
            worker.pipe.send(unit)
        self._running[worker.pipe] = worker

    def wait(self, seconds: float) -> list[tuple[Unit, Failure | None]]:
        ended = []
        for pipe in connection.wait(list(self._running), seconds):
            worker = self._running.pop(pipe)
            try:
                failure, goes_on = pipe.recv()
            except (EOFError, ConnectionError):
                worker.process.join()
                goes_on, failure = False, Failure(
                    "its process was ended from outside (exit code "
                    f"{worker.process.exitcode}; out of memory?)",
                    node=platform.node(),
                    lost=True,
                )  # fmt: skip
            if goes_on:
                self._idle.append(worker)
            else:
                worker.process.join()
                pipe.close()
            ended.append((worker.unit, failure))
        return ended

    def close(self) -> None:
        for worker in (*self._running.values(), *self._idle):
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self._running.clear()
        self._idle.clear()

    def _take_idle(self, unit: Unit) -> _Worker | None:
        """Returns an idle worker, of those whose last unit is most like this; None if all died."""
        while self._idle:
            worker = take_most_alike(self._idle, unit)
            if worker.process.is_alive():
                return worker._replace(unit=unit)
            worker.pipe.close()
        return None

    def _new_worker(self, unit: Unit) -> _Worker:
        pipe, far_end = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(far_end, *self._arguments), daemon=True
        )
        with _worker_environment(self._threads):
            process.start()
        far_end.close()  # so that this side sees the end of a killed worker
        return _Worker(pipe, process, unit)


def _context(preload: str, threads: int) -> BaseContext:
    """Returns how workers start: forked from a server, or as new interpreters.

    A process has one server, whose linear algebra has the threads of the first that asked; CUDA
    and the libraries of macOS do not survive a fork.
    """
    forks = preload and sys.platform == "linux" and not glob.glob("/dev/nvidia[0-9]*")
    if not forks or _SERVER.setdefault("of", (preload, threads)) != (preload, threads):
        return multiprocessing.get_context("spawn")
    multiprocessing.set_forkserver_preload([preload])
    return multiprocessing.get_context("forkserver")


@contextlib.contextmanager
def _worker_environment(threads: int) -> Iterator[None]:
    """Sets the environment of a process that is started in the block."""
    # Ctrl-C reaches every process of a terminal. Only the driver handles it; it ends the workers.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The number of threads of NumPy's linear algebra changes its rounding. Ray sets it too.
    before = os.environ.get(_BLAS_THREADS)
    os.environ[_BLAS_THREADS] = str(threads)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if before is None:
            del os.environ[_BLAS_THREADS]
        else:
            os.environ[_BLAS_THREADS] = before


def _work(pipe: connection.Connection, most_memory: float, *arguments: Any) -> None:
    """Carries out units as long as this process may take another."""
    _die_with_parent()
    worker, goes_on = Worker(most_memory), True
    while goes_on:
        failure, goes_on = worker.carry_out(pipe.recv(), *arguments)
        pipe.send((failure, goes_on))


def _die_with_parent() -> None:
    """Starts a thread that ends this process when its parent ends."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
