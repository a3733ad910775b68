"""What units of work cost beside their work: overhead, efficiency, and how many a driver bears.

    runs = units.run(units.Settings(runs=3))
    print(units.markdown(runs))

Units that do nothing show what a unit costs; units that wait show how well workers are kept at
work, whatever this machine's processors can do; a hundred thousand that do nothing show what
driver and scheduling bear. Each measurement is a fresh process; on Ray every worker is a node of
its own, of one CPU, and starting the cluster is not counted.
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

HERE, LOCAL, RAY, KEPT = "this process", "local", "ray", "ray, workers kept"
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
    """How much is measured; no round starts once `minutes` are over."""

    runs: int = 3
    minutes: float = 30.0
    timeout: float = 1_800.0
    many: int = 100_000  # units of the simulated study; 0: leave it out

    def points(self) -> Iterator[Point]:
        """What is measured in each round."""
        yield Point(HERE, 1, 1_000)
        yield Point(KEPT, 2, 1_000)
        for runner in (LOCAL, RAY):
            yield Point(runner, 1, 10)
            for workers in (1, 2, 4):
                yield Point(runner, workers, 12, 4.0)


def run(settings: Settings) -> list[dict]:
    """One dict a run, with "error" where there is no time; the simulated study once, at last."""
    points, found = list(settings.points()), []
    many = [Point(KEPT, 2, settings.many)] if settings.many else []
    display = progress.Display(settings.runs * len(points) + len(many))
    turns = fresh.turns(points, settings.runs, settings.minutes)
    for round_, point in [*turns, *((0, one) for one in many)]:
        display.update(len(found), f"{point.units:,} units on {point.runner}")
        words = dataclasses.astuple(point)
        one = fresh.found(__name__, words, settings.timeout)
        found.append({**dataclasses.asdict(point), "round": round_} | one)
    display.close()
    return found


def rows(runs: Sequence[dict]) -> list[dict]:
    """Medians of each point. Efficiency: of workers that need no time but for the work."""
    found = []
    for key in dict.fromkeys(map(_point, runs)):
        own = [one for one in runs if _point(one) == key and "error" not in one]
        if own:
            wall = statistics.median(one["wall"] for one in own)
            ideal = -(-key.units // key.workers) * key.seconds
            extra = (wall - ideal) * key.workers
            found.append(
                dataclasses.asdict(key)
                | {
                    "n": len(own),
                    "wall": wall,
                    "low": min(one["wall"] for one in own),
                    "high": max(one["wall"] for one in own),
                    "overhead": 1_000 * extra / key.units,
                    "efficiency": ideal / wall,
                    "memory": statistics.median(one["memory"] for one in own),
                }
            )
    order = (HERE, LOCAL, RAY, KEPT)
    return sorted(
        found, key=lambda r: (order.index(r["runner"]), r["seconds"], r["workers"])
    )


def _point(one: dict) -> Point:
    return Point(*(one[field.name] for field in dataclasses.fields(Point)))


def markdown(runs: Sequence[dict]) -> str:
    """A line a point; failures below."""
    lines = [table.line(HEADER), table.rule(len(HEADER))]
    for one in rows(runs):
        efficient = f"{one['efficiency']:.0%}" if one["seconds"] else ""
        cells = (
            one["runner"], f"{one['workers']}", f"{one['units']:,}", f"{one['seconds']:g}",
            f"{one['n']}", f"{one['wall']:.2f}", f"{one['low']:.2f}-{one['high']:.2f}",
            f"{one['overhead']:,.3g}", efficient, f"{one['memory']:,.0f}",
        )  # fmt: skip
        lines.append(table.line(cells))
    failed = [one for one in runs if "error" in one]
    lines += [f"\n{one['units']} on {one['runner']}: {one['error']}" for one in failed]
    return "\n".join(lines) + "\n"


def measure(point: Point) -> dict:
    """Seconds until all units are done, and the driver's peak of memory, imports included, MB."""
    made = [
        Unit(f"wait {n}", _wait, (point.seconds,), {"unit": n})
        for n in range(point.units)
    ]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        runner = _runner(point, pathlib.Path(folder), stack)
        begin = time.perf_counter()
        done = sum(
            event.unit is not None and not event.started
            for event in runners.run(made, runner, pathlib.Path(folder), 0)
        )
        wall = time.perf_counter() - begin
        runner.close()
        markers = sum(1 for _ in pathlib.Path(folder).glob("units/*/done.json"))
    if not done == markers == point.units:
        raise ValueError(f"{markers} of {point.units} units are done")
    return {"wall": wall, "memory": fresh.peak()}


def _wait(output: Output, threads: int, seconds: float) -> None:
    """A unit of work that needs no processor."""
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
    return runners.Cluster(folder, spec, calls=int(point.runner == RAY))


class _Here:
    """Carries units out one after the other in this process: what a unit's folder costs."""

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
    one = Point(runner, int(workers), int(count), float(seconds))
    print(json.dumps(measure(one)))
