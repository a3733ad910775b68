"""Runs units of work in processes of their own and hears from them.

A unit is a function with plain arguments; its process is new, so that memory (a GPU's too) is
given back at its end, and its threads do not fight with the neighbour's. What it `send`s
arrives at the caller in order. When the caller dies, even by kill -9, its workers die too.
"""

import dataclasses
import multiprocessing
import os
import pathlib
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from typing import Any

from tfreuse.errors import InputError


@dataclasses.dataclass(frozen=True)
class Unit:
    """One piece of work: `function(send, threads, *arguments)` in a process of its own.

    `needs` names units that must have ended first; one that is not in the same run is taken
    as done. `weight` is its expected cost, for the time left.
    """

    name: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    needs: tuple[str, ...] = ()
    weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Ended:
    """Sent by `run` itself when a unit has ended well."""


@dataclasses.dataclass(frozen=True)
class _Failed:
    message: str  # "" if it is not the user's to mend
    details: str


def run(
    units: Sequence[Unit], jobs: int, threads: int, errors_dir: pathlib.Path
) -> Iterator[tuple[Unit, Any]]:
    """Runs the units, `jobs` at a time, first come first, with `threads` CPU threads each.

    Yields (unit, message).

    Raises:
        InputError: a unit failed; the others are stopped. The traceback of a failure that is
            not the user's is in `errors_dir`.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(units)
    running: dict[connection.Connection, tuple[Unit, Any]] = {}
    try:
        while waiting or running:
            open_names = {unit.name for unit in waiting}
            open_names |= {unit.name for unit, _ in running.values()}
            for unit in list(waiting):
                if len(running) < jobs and not open_names.intersection(unit.needs):
                    waiting.remove(unit)
                    ours, process = _start(context, unit, threads)
                    running[ours] = unit, process
            for ours in connection.wait(list(running)):
                unit, process = running[ours]
                try:
                    message = ours.recv()
                except EOFError:
                    process.join()
                    raise InputError(
                        f"{unit.name} was ended from outside (exit code {process.exitcode}; "
                        "out of memory?). Run the same command again to go on."
                    ) from None
                if isinstance(message, _Failed):
                    raise InputError(_explain(unit, message, errors_dir))
                if isinstance(message, Ended):
                    process.join()
                    del running[ours]
                yield unit, message
    finally:
        for _, process in running.values():
            process.kill()
            process.join()


def _start(context, unit: Unit, threads: int):
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, threads, unit), daemon=True)
    # Ctrl-C reaches every process of a terminal: it is for the caller, who ends the workers.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()
    return ours, process


def _explain(unit: Unit, failure: _Failed, errors_dir: pathlib.Path) -> str:
    if failure.message:
        return failure.message
    errors_dir.mkdir(parents=True, exist_ok=True)
    path = errors_dir / f"{unit.name}.txt"
    path.write_text(failure.details, encoding="utf-8")
    last = failure.details.strip().splitlines()[-1]
    return f"{unit.name} failed: {last[:200]} (details: {path})."


def _work(theirs: connection.Connection, threads: int, unit: Unit) -> None:
    _die_with_parent()
    try:
        unit.function(theirs.send, threads, *unit.arguments)
        theirs.send(Ended())
    except (InputError, OSError) as error:
        theirs.send(_Failed(str(error), traceback.format_exc()))
    except Exception:  # noqa: BLE001 - whatever it is, the caller must hear of it
        theirs.send(_Failed("", traceback.format_exc()))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
