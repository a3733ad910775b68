"""Measures the cost of units of work beside their work: overhead, efficiency, and scale.

    runs = units.run(units.Settings(runs=3))
    print(units.markdown(runs))

Units that do nothing measure the overhead of a unit; units that wait measure how well workers
are kept busy, independent of this machine's processors; a hundred thousand units that do nothing
measure the limits of driver and scheduling. Each measurement is a fresh process; on Ray every
worker is a separate node of one CPU, and the start of the cluster is not counted.
"""

import contextlib
import dataclasses
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from benchmarks import fresh, table
from tfreuse import progress, runners
from tfreuse.runners import Output, RunnerSpec, Unit

HERE, LOCAL, RAY = "this process", "local", "ray"
HEADER = (
    *("runner", "workers", "units", "work, s", "n", "wall, s", "least-most"),
    *("ms a unit", "efficiency", "driver MB"),
)


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement: `units` of `seconds` each, on `workers` of a runner."""

    runner: str
    workers: int
    units: int
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """Extent of the measurement; no round starts once `minutes` are over."""

    runs: int = 3
    minutes: float = 30.0
    timeout: float = 1_800.0
    many: int = 100_000  # units of the simulated study; 0: leave it out

    def points(self) -> Iterator[Point]:
        """Yields the measurements of a round."""
        yield Point(HERE, 1, 1_000)
        yield Point(RAY, 2, 1_000)
        for runner in (LOCAL, RAY):
            yield Point(runner, 1, 10)
            for workers in (1, 2, 4):
                yield Point(runner, workers, 12, 4.0)


def run(settings: Settings) -> list[dict]:
    """Runs all points; returns a dict per run, with "error" instead of times if it failed.

    The simulated study runs once, at the end.
    """
    points, runs = list(settings.points()), []
    study = [Point(RAY, 2, settings.many)] if settings.many else []
    display = progress.Display(settings.runs * len(points) + len(study))
    turns = fresh.turns(points, settings.runs, settings.minutes)
    for round_, point in [*turns, *((0, point) for point in study)]:
        display.update(len(runs), f"{point.units:,} units on {point.runner}")
        words = dataclasses.astuple(point)
        measured = fresh.run_json(__name__, words, settings.timeout)
        runs.append({**dataclasses.asdict(point), "round": round_} | measured)
    display.close()
    return runs


def rows(runs: Sequence[dict]) -> list[dict]:
    """Returns medians of each point.

    "efficiency" is the time of ideal workers, which need no time beside the work, over the
    measured time; "overhead" is milliseconds of worker time per unit beyond the ideal.
    """
    medians = []
    for point in dict.fromkeys(map(_point, runs)):
        selected = [run for run in runs if _point(run) == point and "error" not in run]
        if selected:
            wall = statistics.median(run["wall"] for run in selected)
            ideal = -(-point.units // point.workers) * point.seconds
            extra = (wall - ideal) * point.workers
            medians.append(
                dataclasses.asdict(point)
                | {
                    "n": len(selected),
                    "wall": wall,
                    "low": min(run["wall"] for run in selected),
                    "high": max(run["wall"] for run in selected),
                    "overhead": 1_000 * extra / point.units,
                    "efficiency": ideal / wall,
                    "memory": statistics.median(run["memory"] for run in selected),
                }
            )
    order = (HERE, LOCAL, RAY)
    return sorted(
        medians, key=lambda r: (order.index(r["runner"]), r["seconds"], r["workers"])
    )


def _point(run: dict) -> Point:
    return Point(*(run[field.name] for field in dataclasses.fields(Point)))


def markdown(runs: Sequence[dict]) -> str:
    """Formats a table with a line per point; failures follow."""
    lines = [table.line(HEADER), table.rule(len(HEADER))]
    for row in rows(runs):
        efficiency = f"{row['efficiency']:.0%}" if row["seconds"] else ""
        cells = (
            row["runner"], f"{row['workers']}", f"{row['units']:,}", f"{row['seconds']:g}",
            f"{row['n']}", f"{row['wall']:.2f}", f"{row['low']:.2f}-{row['high']:.2f}",
            f"{row['overhead']:,.3g}", efficiency, f"{row['memory']:,.0f}",
        )  # fmt: skip
        lines.append(table.line(cells))
    failed = [run for run in runs if "error" in run]
    lines += [f"\n{run['units']} on {run['runner']}: {run['error']}" for run in failed]
    return "\n".join(lines) + "\n"


def measure(point: Point) -> dict:
    """Measures the seconds of all units and the driver's peak memory in MB, imports included."""
    work = [
        Unit(f"wait {n}", _wait, (point.seconds,), {"unit": n})
        for n in range(point.units)
    ]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        runner = _runner(point, pathlib.Path(folder), stack)
        begin = time.perf_counter()
        done = sum(
            event.unit is not None and not event.started
            for event in runners.run(work, runner, pathlib.Path(folder), 0)
        )
        wall = time.perf_counter() - begin
        runner.close()
        markers = sum(1 for _ in pathlib.Path(folder).glob("units/*/done.json"))
    if not done == markers == point.units:
        raise ValueError(f"{markers} of {point.units} units are done")
    return {"wall": wall, "memory": fresh.peak()}


def _wait(output: Output, threads: int, seconds: float) -> None:
    """Waits: a unit of work that needs no processor."""
    time.sleep(seconds)


def _runner(point: Point, folder: pathlib.Path, stack: contextlib.ExitStack):
    if point.runner == HERE:
        return _Here(folder)
    if point.runner == LOCAL:
        return runners.Processes(folder, point.workers, 1)
    from ray import cluster_utils

    nodes = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0}
    )
    stack.callback(nodes.shutdown)
    for _ in range(point.workers - 1):
        nodes.add_node(num_cpus=1, num_gpus=0)
    nodes.wait_for_nodes()
    spec = RunnerSpec(runner="ray", ray_address=nodes.address, unit_gpus=0.0)
    return runners.Cluster(folder, spec)


class _Here:
    """A runner that carries out units in this process, to measure the cost of their folders."""

    slots = 1

    def __init__(self, out_dir: pathlib.Path) -> None:
        self._out_dir = out_dir

    def start(self, unit: Unit) -> None:
        self._unit = unit

    def wait(self, seconds: float) -> list:
        return [(self._unit, runners.carry_out(self._unit, self._out_dir, 1))]

    def close(self) -> None:
        pass


if __name__ == "__main__":
    runner, workers, count, seconds = sys.argv[1:]
    point = Point(runner, int(workers), int(count), float(seconds))
    print(json.dumps(measure(point)))
