"""Runs units in local worker processes, a new one for each unit.

So memory, a GPU's too, is freed at a unit's end, and each unit has its own number of threads. When
the driver dies, even by kill -9, its workers end too. Workers are forked from a server process
that has imported the packages of all units, so that TensorFlow's import is paid for once.
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
from typing import Any

from tfreuse.runners.unit import Failure, Unit, carry_out

_BLAS_THREADS = "OMP_NUM_THREADS"  # read when NumPy is imported
_SERVER: dict[str, tuple[str, int]] = {}  # module and threads that it was asked for


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
        self._arguments = out_dir, threads, platform.node(), url  # of `carry_out`
        self._context = _context(preload, threads)
        self._running: dict[connection.Connection, tuple[Unit, Any]] = {}

    def start(self, unit: Unit) -> None:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work, args=(sender, unit, *self._arguments), daemon=True
        )
        with _worker_environment(self._threads):
            process.start()
        sender.close()  # so that the receiver sees the end of a killed worker
        self._running[receiver] = unit, process

    def wait(self, seconds: float) -> list[tuple[Unit, Failure | None]]:
        ended = []
        for receiver in connection.wait(list(self._running), seconds):
            unit, process = self._running.pop(receiver)
            try:
                failure = receiver.recv()
                process.join()
            except EOFError:
                process.join()
                failure = Failure(
                    f"its process was ended from outside (exit code {process.exitcode}; out "
                    "of memory?)",
                    node=platform.node(),
                    lost=True,
                )
            receiver.close()
            ended.append((unit, failure))
        return ended

    def close(self) -> None:
        for _, process in self._running.values():
            process.kill()
            process.join()
        self._running.clear()


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


def _work(sender: connection.Connection, unit: Unit, *arguments: Any) -> None:
    _die_with_parent()
    sender.send(carry_out(unit, *arguments))


def _die_with_parent() -> None:
    """Starts a thread that ends this process when its parent ends."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
