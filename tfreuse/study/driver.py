"""Runs a study: selects its pending units of work, runs them and gathers their records."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Sequence
from typing import Any, Self

from tfreuse import files, records, rundir, runners
from tfreuse.errors import InputError
from tfreuse.few_labels import recipes
from tfreuse.report import tensorboard
from tfreuse.runners import Failure, Folder, RunnerSpec, Unit, lease, storage
from tfreuse.runners.gathering import Gathering
from tfreuse.study import checks, outcome, work
from tfreuse.study.board import Board
from tfreuse.study.design import Specs

LOCAL = RunnerSpec()
_LEASE = "driver.lease"
_PRELOAD = "tfreuse.study.imports"
_FILES = (  # written by a driver, in the study's directory
    "study.json", "records.jsonl", "counts.bin", "labels.jsonl", "config.flags",
    "tensorboard",
)  # fmt: skip
_PUSH_EVERY = 300.0  # seconds between two copies of these files to a URL
_WRITE_EVERY = 5.0  # seconds between two writings of study.json, which lists units
_COLLECTING = 5  # at most one part in so many of a driver's time collects records


def run(
    specs: Specs,
    out_dir: pathlib.Path,
    runner_spec: RunnerSpec = LOCAL,
    url: str = "",
) -> dict[str, Failure]:
    """Runs the units of work that are not done, then exports the outcome as a model.

    Args:
        specs: the study.
        out_dir: the study's directory; refused if it holds another study.
        runner_spec: the processes or the cluster that the units run on.
        url: URL of the directory of which `out_dir` is the local copy; see `runners.storage`.

    Returns:
        the reasons of the units that failed, by name; empty if the study is complete.

    Raises:
        InputError: a spec or the data cannot be used, or another process runs this study.
    """
    out_dir = out_dir.resolve()
    mirror = storage.mirror_of(url, out_dir)
    with storage.hold_lease(out_dir / _LEASE, "this study", mirror):
        _fetch(mirror)
        if not (out_dir / "study.json").exists():
            checks.check(specs)
        units = work.plan(specs, out_dir)
        with _Study(specs, out_dir, mirror, runner_spec, len(units)) as state:
            finished = [unit for unit in units if state.has(unit)]
            pending = [unit for unit in units if unit.name in state.pending]
            later = work.FINISHING if specs.blocks() else 0.0
            state.run(pending, finished, later)
            state.finish(units)
            arms, arms_dir = state.log.records, out_dir / "tensorboard" / "arms"
            if arms and (note := tensorboard.write_arms(arms_dir, arms)):
                print(note)
            state.write(_trainings(specs, out_dir))
        tensorboard.write_study(out_dir)
        mirror.push(*_FILES)
    return state.failed


def _fetch(mirror: storage.Mirror | storage.NoMirror) -> None:
    """Copies the files that a driver reads from the study's URL."""
    mirror.pull(*_FILES, "figures_data", "savedmodel/1/assets.extra")
    mirror.pull(runners.UNITS, only=(storage.MARKER,))
    mirror.pull("models", only=("metrics.json",))


def run_one(
    specs: Specs, out_dir: pathlib.Path, runner_spec: RunnerSpec, url: str = ""
) -> tuple[Unit, Failure | None]:
    """Runs unit of work number `runner_spec.unit_index` of `plan`, and the units it needs.

    Other processes can run other units of the same study meanwhile; a needed unit that one of
    them has begun is waited for. `collect`, or `run`, gathers the records.

    Returns:
        the unit, and the failure of it or of a unit that it needs, None if there is none.

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
    if not (out_dir / "study.json").exists():
        checks.check(specs)
    rundir.claim(out_dir / "study.json", specs.named())
    mirror.push("study.json")
    unit = units[runner_spec.unit_index]
    needed = work.with_needs(unit, units)
    marked = {u.name for u in needed if Folder(out_dir, u).done() is not None}
    finished = [unit for unit in needed if unit.name in marked]
    pending = [unit for unit in needed if unit.name not in marked]
    if not pending:
        return unit, None
    failures: list[Failure] = []
    with (
        contextlib.closing(
            runners.make(runner_spec, out_dir, url=url, preload=_PRELOAD)
        ) as runner,
        contextlib.closing(Board(pending, out_dir, finished)) as board,
    ):
        for event in runners.run(pending, runner, out_dir, runner_spec.retries):
            board.update(event)
            if event.failure and not event.will_retry:
                failures.append(event.failure)
    return unit, next(iter(failures), None)


def collect(out_dir: pathlib.Path, url: str = "") -> None:
    """Gathers the records of the units of work, unless a driver is running.

    For a report while the tasks of a job array run; a driver gathers records itself.
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
        specs = rundir.read(out_dir / "study.json")["specs"]
        gathering = _gathering(stack, out_dir, curves="labels" in specs)
        for folder in sorted(units.iterdir()):
            gathering.collect(folder)


class _Study:
    """A study's directory while its driver works on it.

    Args:
        specs: the study.
        out_dir: its directory.
        mirror: the URL that the directory is a copy of, if any.
        spec: of the runner.
        count: number of the study's units. It decides, in place of the number of those that are
            left, how many jobs share the cores: another number of threads rounds otherwise.

    Attributes:
        log: the records of its arms.
        failed: failures of the units that are not tried again, by name.
        pending: names of the units that are not done.
    """

    def __init__(
        self,
        specs: Specs,
        out_dir: pathlib.Path,
        mirror: storage.Mirror | storage.NoMirror,
        spec: RunnerSpec,
        count: int,
    ) -> None:
        self._specs, self._out_dir, self._mirror = specs, out_dir, mirror
        self._spec, self._count = spec, count
        self.failed: dict[str, Failure] = {}
        self.pending: set[str] = set()
        self._decided = False  # which model is exported
        self._retries: list[dict[str, str]] = []  # of earlier runs too
        self._written = self._collect_after = 0.0
        self._pushed = time.monotonic()

    def __enter__(self) -> Self:
        self._path = self._out_dir / "study.json"
        self._json = rundir.claim(self._path, self._specs.named())
        self._retries = list(self._json.get("units", {}).get("again", ()))
        self._stack = contextlib.ExitStack()
        curves = bool(self._specs.curves())
        self._gathering = _gathering(self._stack, self._out_dir, curves)
        self.log = self._gathering.log
        return self

    def __exit__(self, *unused: object) -> None:
        self._stack.close()

    def has(self, unit: Unit) -> bool:
        """Returns whether the unit is done and the study has all its records.

        Records that are missing are copied from the unit's folder. If that fails too, the
        unit is marked as not done, to be run again.
        """
        if self._arrived(unit):
            return True
        folder = Folder(self._out_dir, unit)
        if folder.done() is not None:
            self._mirror.pull(folder.name)
            if self._arrived(unit):
                return True
            self._forget(unit)
        self.pending.add(unit.name)
        return False

    @functools.cached_property
    def _deciding(self) -> set[str]:
        """Names of the units that decide which model is exported."""
        return {work.measuring(block) for block in outcome.deciding(self._specs)}

    @functools.cached_property
    def _runner(self) -> runners.Runner:
        """The runner of all units, which is started for the first and closed with the study."""
        runner = runners.make(
            self._spec, self._out_dir, self._count, self._mirror.url, _PRELOAD
        )
        self._stack.enter_context(contextlib.closing(runner))
        if dashboard := getattr(runner, "dashboard", ""):
            print(f"Ray's dashboard: http://{dashboard}")
        return runner

    def run(
        self, units: Sequence[Unit], finished: Sequence[Unit], later: float = 0.0
    ) -> None:
        """Runs the units and collects their records.

        Args:
            units: to run.
            finished: those that are done, for the display.
            later: weight of units that another call runs, for the display.
        """
        if not units:
            return
        board = Board(units, self._out_dir, finished, later)
        with contextlib.closing(board):
            retries = self._spec.retries
            for event in runners.run(
                units, self._runner, self._out_dir, retries, self._finishing
            ):
                board.update(event)
                if event.unit is None:
                    self._collect_running(board.running())
                elif not event.started:
                    self._ended(event)

    def finish(self, finished: Sequence[Unit]) -> None:
        """Exports the recipient with the reusable groups, unless it is exported already."""
        self.run(self._finishing(), finished)

    def _finishing(self) -> list[Unit]:
        """Returns the export of the outcome, once, as soon as all units that decide it are done.

        The others go on meanwhile. Empty before and afterwards, and if the model is there already.
        """
        if self._decided or not self._deciding or self._deciding & self.pending:
            return []
        self._decided = True
        groups = outcome.reusable(self.log.records, self._specs)
        if groups == outcome.exported(self._out_dir):
            return []
        unit = work.finishing(self._specs, groups, self._out_dir)
        self._forget(unit)  # a model with other groups may be there
        self.pending.add(unit.name)
        return [unit]

    def write(self, entries: dict[str, Any] | None = None) -> None:
        """Writes study.json: the entries, and which units are pending, failed or retried."""
        self._json |= entries or {}
        self._json["units"] = {
            "lacking": len(self.pending),
            "failed": [
                {"name": name, "why": why.message, "node": why.node}
                for name, why in sorted(self.failed.items())
            ],
            "again": self._retries,
        }
        files.write_json(self._path, self._json)
        self._written = time.monotonic()
        if self._written - self._pushed >= _PUSH_EVERY:
            self._pushed = self._written
            self._mirror.push(*_FILES)

    def _ended(self, event: runners.Event) -> None:
        unit, failure = event.unit, event.failure
        self._mirror.pull(
            Folder(self._out_dir, unit).name, *filter(None, [unit.product])
        )
        if failure is not None:
            self._fail(unit, failure, event.will_retry)
            self._collect(unit)  # the records before the failure
        elif self._arrived(unit):
            self.pending.discard(unit.name)
            self.failed.pop(unit.name, None)
        else:
            missing = "its records cannot all be read, or its marker is gone"
            self._fail(unit, Failure(f"{missing}; run the same command again"), False)
        if time.monotonic() - self._written >= _WRITE_EVERY:
            self.write()

    def _forget(self, unit: Unit) -> None:
        """Removes the unit's marker: it runs again, but for the arms that have records."""
        folder = Folder(self._out_dir, unit)
        folder.remove_marker()
        self._mirror.remove(folder.marker)

    def _fail(self, unit: Unit, failure: Failure, will_retry: bool) -> None:
        if will_retry:
            entry = {"name": unit.name, "why": failure.message, "node": failure.node}
            self._retries.append(entry)
        else:
            self.failed.setdefault(unit.name, failure)

    def _arrived(self, unit: Unit) -> bool:
        """Returns whether the unit is done and all its records are, or can be, collected."""
        marker = Folder(self._out_dir, unit).done()
        if marker is None:
            return False
        owner, count = work.owner(unit), int(marker.get("records", 0))
        if self._gathering.counts[owner] < count:
            self._collect(unit)
        if self._gathering.counts[owner] < count:
            return False
        self._note(unit, marker)
        return True

    def _collect_running(self, units: Sequence[Unit]) -> None:
        """Collects the records of running units, so that a live report shows them.

        With many units a look at all folders takes long; the pause after it grows with it.
        """
        started = time.monotonic()
        if started >= self._collect_after:
            for unit in units:
                # only the progress: a unit elsewhere sends its records when it has ended
                self._mirror.pull(
                    Folder(self._out_dir, unit).name, only=("progress.json",)
                )
                self._collect(unit)
            ended = time.monotonic()
            self._collect_after = ended + (_COLLECTING - 1) * (ended - started)

    def _collect(self, unit: Unit) -> None:
        try:
            self._gathering.collect(Folder(self._out_dir, unit).path)
        except InputError as error:
            self.failed[unit.name] = Failure(str(error), final=True)

    def _note(self, unit: Unit, marker: dict[str, Any]) -> None:
        """Copies a finished unit's annotations, and its number of records, to study.json."""
        for name in ("stages", "skips"):
            if annotation := marker.get("told", {}).get(name):
                self._json[name] = self._json.get(name, {}) | annotation
        if unit.function is work.measure:
            count = {unit.arguments[0].name: self._gathering.counts[work.owner(unit)]}
            self._json["measured"] = self._json.get("measured", {}) | count


def _gathering(
    stack: contextlib.ExitStack, out_dir: pathlib.Path, curves: bool
) -> Gathering:
    """Opens the study's files of records; that of label curves if it has any."""
    log = stack.enter_context(records.Log(out_dir / "records.jsonl"))
    label_log = records.LabelLog(out_dir / "labels.jsonl")
    return Gathering(log, stack.enter_context(label_log) if curves else label_log)


def _trainings(specs: Specs, out_dir: pathlib.Path) -> dict[str, Any]:
    """Returns metrics of the trained networks and descriptions of recipes, for study.json."""
    networks = {}
    for name in specs.networks():
        path = out_dir / "models" / name / "metrics.json"
        if path.exists():
            networks[name] = files.read_json(path)
    if not specs.curves():
        return {"networks": networks}
    texts = {name: recipes.CATALOGUE[name].describe() for name in specs.labels.recipes}
    return {"networks": networks, "recipes": texts}
