"""Runs units in processes of this machine, a new one for each.

So memory (a GPU's too) is given back at a unit's end, and its threads do not fight with its
neighbour's. When the caller dies, even by kill -9, its workers die too.
"""

import contextlib
import multiprocessing
import os
import pathlib
import platform
import signal
import threading
from collections.abc import Iterator
from multiprocessing import connection
from typing import Any

from tfreuse.runners.unit import Failure, Unit, carry_out

_BLAS = "OMP_NUM_THREADS"  # read when NumPy is imported


class Processes:
    """`slots` processes at a time, each with `threads` CPU threads."""

    def __init__(
        self, out_dir: pathlib.Path, slots: int, threads: int, url: str = ""
    ) -> None:
        self.slots = slots
        self._place = out_dir, threads, platform.node(), url
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[connection.Connection, tuple[Unit, Any]] = {}

    def start(self, unit: Unit) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work,
            args=(theirs, unit, *self._place),
            daemon=True,
        )
        with _beginning(self._place[1]):
            process.start()
        theirs.close()
        self._running[ours] = unit, process

    def wait(self, seconds: float) -> list[tuple[Unit, Failure | None]]:
        ended = []
        for ours in connection.wait(list(self._running), seconds):
            unit, process = self._running.pop(ours)
            try:
                failure = ours.recv()
                process.join()
            except EOFError:
                process.join()
                failure = Failure(
                    f"its process was ended from outside (exit code {process.exitcode}; out "
                    "of memory?)",
                    node=platform.node(),
                    lost=True,
                )
            ours.close()
            ended.append((unit, failure))
        return ended

    def close(self) -> None:
        for _, process in self._running.values():
            process.kill()
            process.join()
        self._running.clear()


@contextlib.contextmanager
def _beginning(threads: int) -> Iterator[None]:
    """What a process that is started in the block begins with."""
    # Ctrl-C reaches every process of a terminal: it is for the caller, who ends the workers.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    # NumPy's linear algebra, which rounds otherwise on other threads; Ray does likewise.
    before = os.environ.get(_BLAS)
    os.environ[_BLAS] = str(threads)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if before is None:
            del os.environ[_BLAS]
        else:
            os.environ[_BLAS] = before


def _work(theirs: connection.Connection, unit: Unit, *place: Any) -> None:
    _die_with_parent()
    theirs.send(carry_out(unit, *place))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
