"""Runs a study: decides what is to do, has it done, gathers the records, shows the progress."""

import contextlib
import pathlib
import time
from collections.abc import Sequence
from typing import Any, Self

from tfreuse import (
    files,
    records,
    rundir,
    runners,
)
from tfreuse.analysis import intervals
from tfreuse.errors import InputError
from tfreuse.few_labels import recipes
from tfreuse.report import tensorboard
from tfreuse.runners import Failure, Folder, RunnerSpec, Unit, lease, storage
from tfreuse.runners.gathering import Gathering
from tfreuse.study import work
from tfreuse.study.board import Board
from tfreuse.study.design import Specs

LOCAL = RunnerSpec()
_LEASE = "driver.lease"
_FILES = (  # that a driver writes
    "study.json", "records.jsonl", "counts.bin", "labels.jsonl", "config.flags",
    "tensorboard",
)  # fmt: skip
_SENT = 300.0  # seconds between two times that they are sent to a URL
_PAUSE = 5.0  # seconds between two writings of study.json, which tells of every unit


def run(
    specs: Specs,
    out_dir: pathlib.Path,
    runner_spec: RunnerSpec = LOCAL,
    url: str = "",
) -> dict[str, Failure]:
    """Trains what is not trained, measures what is not measured, exports what was found.

    Args:
        specs: what to study.
        out_dir: the study's directory; refused if it is of another study.
        runner_spec: what the units of work are run on.
        url: what `out_dir` stands for; see `runners.storage`.

    Returns:
        the units that failed, by name, and why; empty if the study is complete.

    Raises:
        InputError: a spec or the data cannot be used, or another process runs this study.
    """
    out_dir = out_dir.resolve()
    mirror = storage.mirror_of(url, out_dir)
    with storage.hold_lease(out_dir / _LEASE, "this study", mirror):
        _fetch(mirror)
        with _Study(specs, out_dir, mirror) as it:
            it.run([u for u in work.plan(specs, out_dir) if not it.has(u)], runner_spec)
            if not it.lacks:
                it.finish(runner_spec)
            arms_dir = out_dir / "tensorboard" / "arms"
            if it.log.records and (
                note := tensorboard.write_arms(arms_dir, it.log.records)
            ):
                print(note)
            it.write(_told(specs, out_dir))
        tensorboard.write_study(out_dir)
        mirror.push(*_FILES)
    return it.failed


def _fetch(mirror: storage.Mirror | storage.NoMirror) -> None:
    """Brings what a driver looks at from where the study really is."""
    mirror.pull(*_FILES, "figures_data", "savedmodel/1/assets.extra")
    mirror.pull(runners.UNITS, only=(storage.MARKER,))
    mirror.pull("models", only=("metrics.json",))


def run_one(
    specs: Specs, out_dir: pathlib.Path, runner_spec: RunnerSpec, url: str = ""
) -> tuple[Unit, Failure | None]:
    """Does the unit of work `runner_spec.unit_index` of `plan`, and what it needs.

    Others may do other units of the same study meanwhile; what one of them has begun is waited
    for. `collect`, or `run`, brings the records together.

    Returns:
        the unit, and why it failed, or what it needs did.

    Raises:
        InputError: there is no such unit; see `run`.
    """
    out_dir, units = out_dir.resolve(), work.plan(specs, out_dir)
    if runner_spec.unit_index >= len(units):
        raise InputError(
            f"--unit_index={runner_spec.unit_index}: this study has {len(units)} units of work, "
            f"0 to {len(units) - 1}."
        )
    mirror = storage.mirror_of(url, out_dir)
    mirror.pull("study.json")
    mirror.pull(runners.UNITS, only=(storage.MARKER,))
    rundir.claim(out_dir / "study.json", specs.named())
    mirror.push("study.json")
    unit = units[runner_spec.unit_index]
    wanted = work.with_needs(unit, units)
    todo = [u for u in wanted if Folder(out_dir, u).done() is None]
    if not todo:
        return unit, None
    found: dict[str, Failure] = {}
    with (
        contextlib.closing(runners.make(runner_spec, out_dir, url=url)) as runner,
        contextlib.closing(Board(todo, out_dir)) as board,
    ):
        for event in runners.run(todo, runner, out_dir, runner_spec.retries):
            board.hear(event)
            if event.failure and not event.will_retry:
                found[event.unit.name] = event.failure
    return unit, next(iter(found.values()), None)


def collect(out_dir: pathlib.Path, url: str = "") -> None:
    """Brings together what units of work have recorded, if nobody is doing so.

    For a report while the tasks of a job array run; a study that has a driver needs it not.
    """
    mirror, units = storage.mirror_of(url, out_dir), out_dir / runners.UNITS
    if not lease.is_held_locally(out_dir / _LEASE):
        mirror.pull(*_FILES, "figures_data")
    busy = {
        f"{runners.UNITS}/{folder.name}"
        for folder in (units.iterdir() if units.is_dir() else ())
        if lease.is_held_locally(folder / lease.NAME)
    }
    mirror.pull(runners.UNITS, but=busy)
    if not units.is_dir():
        return
    with contextlib.suppress(lease.AlreadyHeld), contextlib.ExitStack() as stack:
        stack.enter_context(storage.hold_lease(out_dir / _LEASE, "this study", mirror))
        told = files.read_json(out_dir / "study.json")["specs"]
        gathering = _gathering(stack, out_dir, curves="labels" in told)
        for folder in sorted(units.iterdir()):
            gathering.collect(folder)


class _Study:
    """A study's directory while its driver works on it.

    Attributes:
        log: the records of its arms.
        failed: units that failed and are not tried again, and why.
        lacks: names of the units that are not done.
    """

    def __init__(
        self,
        specs: Specs,
        out_dir: pathlib.Path,
        mirror: storage.Mirror | storage.NoMirror,
    ) -> None:
        self._specs, self._out_dir, self._mirror = specs, out_dir, mirror
        self.failed: dict[str, Failure] = {}
        self.lacks: set[str] = set()
        self._again: list[dict[str, str]] = []  # in earlier runs too
        self._written = self._due = 0.0
        self._sent = time.monotonic()

    def __enter__(self) -> Self:
        self._path = self._out_dir / "study.json"
        self._held = rundir.claim(self._path, self._specs.named())
        self._again = list(self._held.get("units", {}).get("again", ()))
        self._stack = contextlib.ExitStack()
        curves = bool(self._specs.curves())
        self._gathering = _gathering(self._stack, self._out_dir, curves)
        self.log = self._gathering.log
        return self

    def __exit__(self, *unused: object) -> None:
        self._stack.close()

    def has(self, unit: Unit) -> bool:
        """Whether the unit is done and its records are all here; takes over what is not.

        Records that are neither here nor in the unit's folder are made again.
        """
        if self._arrived(unit):
            return True
        folder = Folder(self._out_dir, unit)
        if folder.done() is not None:
            self._mirror.pull(folder.name)
            if self._arrived(unit):
                return True
            self._forget(unit)
        self.lacks.add(unit.name)
        return False

    def run(self, units: Sequence[Unit], spec: RunnerSpec) -> None:
        """Runs the units and takes over their records while they are made."""
        if not units:
            return
        with (
            contextlib.closing(
                runners.make(spec, self._out_dir, len(units), self._mirror.url)
            ) as runner,
            contextlib.closing(Board(units, self._out_dir)) as board,
        ):
            if dashboard := getattr(runner, "dashboard", ""):
                print(f"Ray's dashboard: http://{dashboard}")
            for event in runners.run(units, runner, self._out_dir, spec.retries):
                board.hear(event)
                if event.unit is None:
                    self._look(board.running())
                elif not event.started:
                    self._ended(event)

    def finish(self, spec: RunnerSpec) -> None:
        """Saves and exports the outcome as a model, unless that is there already."""
        groups = reusable(self.log.records, self._specs)
        if not self._specs.blocks() or groups == _transplanted(self._out_dir):
            return
        unit = work.finishing(self._specs, groups, self._out_dir)
        self._forget(unit)  # a model of other groups may be there
        self.lacks.add(unit.name)
        self.run([unit], spec)

    def write(self, more: dict[str, Any] | None = None) -> None:
        """Tells what there is in study.json."""
        self._held |= more or {}
        self._held["units"] = {
            "lacking": len(self.lacks),
            "failed": [
                {"name": name, "why": why.message, "node": why.node}
                for name, why in sorted(self.failed.items())
            ],
            "again": self._again,
        }
        files.write_json(self._path, self._held)
        self._written = time.monotonic()
        if self._written - self._sent >= _SENT:
            self._sent = self._written
            self._mirror.push(*_FILES)

    def _ended(self, event: runners.Event) -> None:
        unit, failure = event.unit, event.failure
        self._mirror.pull(
            Folder(self._out_dir, unit).name, *filter(None, [unit.product])
        )
        if failure is not None:
            self._fail(unit, failure, event.will_retry)
            self._take(unit)  # what it did measure
        elif self._arrived(unit):
            self.lacks.discard(unit.name)
            self.failed.pop(unit.name, None)
        else:
            missing = "its records cannot all be read, or its marker is gone"
            self._fail(unit, Failure(f"{missing}; run the same command again"), False)
        if time.monotonic() - self._written >= _PAUSE:
            self.write()

    def _forget(self, unit: Unit) -> None:
        """Has the unit done again, from the records that are there."""
        folder = Folder(self._out_dir, unit)
        folder.remove_marker()
        self._mirror.remove(folder.marker)

    def _fail(self, unit: Unit, failure: Failure, again: bool) -> None:
        if again:
            told = {"name": unit.name, "why": failure.message, "node": failure.node}
            self._again.append(told)
        else:
            self.failed.setdefault(unit.name, failure)

    def _arrived(self, unit: Unit) -> bool:
        """Whether the unit is done and all its records are here, after a look for them."""
        marker = Folder(self._out_dir, unit).done()
        if marker is None:
            return False
        owner, wanted = work.owner(unit), int(marker.get("records", 0))
        if self._gathering.counts[owner] < wanted:
            self._take(unit)
        if self._gathering.counts[owner] < wanted:
            return False
        self._heard(unit, marker)
        return True

    def _look(self, units: Sequence[Unit]) -> None:
        """Takes over what the units have recorded so far; a fifth of the time at most."""
        started = time.monotonic()
        if started >= self._due:
            for unit in units:
                # records of a study elsewhere come once the unit has ended
                self._mirror.pull(
                    Folder(self._out_dir, unit).name, only=("progress.json",)
                )
                self._take(unit)
            now = time.monotonic()
            self._due = now + 4 * (now - started)

    def _take(self, unit: Unit) -> None:
        try:
            self._gathering.collect(Folder(self._out_dir, unit).path)
        except InputError as error:
            self.failed[unit.name] = Failure(str(error), final=True)

    def _heard(self, unit: Unit, marker: dict[str, Any]) -> None:
        """Notes what a unit that is done told."""
        if stages := marker.get("told", {}).get("stages"):
            self._held["stages"] = self._held.get("stages", {}) | stages
        if unit.function is work.measure:
            count = {unit.arguments[0].name: self._gathering.counts[work.owner(unit)]}
            self._held["measured"] = self._held.get("measured", {}) | count


def _gathering(
    stack: contextlib.ExitStack, out_dir: pathlib.Path, curves: bool
) -> Gathering:
    """The study's own files, open; those of label curves where it has any."""
    log = stack.enter_context(records.Log(out_dir / "records.jsonl"))
    label_log = records.LabelLog(out_dir / "labels.jsonl")
    return Gathering(log, stack.enter_context(label_log) if curves else label_log)


def _told(specs: Specs, out_dir: pathlib.Path) -> dict[str, Any]:
    """What `study.json` tells of the networks and recipes that there are."""
    networks = {}
    for name in specs.networks():
        path = out_dir / "models" / name / "metrics.json"
        if path.exists():
            networks[name] = files.read_json(path)
    if not specs.curves():
        return {"networks": networks}
    named = {name: recipes.CATALOGUE[name].describe() for name in specs.labels.recipes}
    return {"networks": networks, "recipes": named}


def _transplanted(out_dir: pathlib.Path) -> tuple[str, ...] | None:
    """The groups that the exported model holds already; None if there is none."""
    notes = out_dir / "savedmodel" / "1" / "assets.extra" / "tfreuse.json"
    if not notes.exists():
        return None
    return tuple(files.read_json(notes)["notes"]["groups"])


def reusable(found: Sequence[records.Record], specs: Specs) -> tuple[str, ...]:
    """Groups that lose at most the margin at all layers after recalibration, as is certain.

    Certain means the lower end of the interval over the seeds of the study's first block.
    """
    if not specs.blocks():
        return ()
    first = specs.blocks()[0].owner[:-1]
    repaired = [
        record
        for record in found
        if record.key[:3] == first
        and (record.site_kind, record.control) == ("all", "transfer")
        and (record.repair, record.strength) == ("recalibration", 1.0)
        and record.before - record.floor >= specs.study.minimum
    ]
    chosen = []
    for group in specs.study.groups:
        retentions = [one.retention for one in repaired if one.group == group]
        if len(retentions) == specs.study.seeds:
            low = intervals.mean_interval(retentions, specs.study.confidence).low
            if low >= 1 - specs.study.margin:
                chosen.append(group)
    return tuple(chosen)
