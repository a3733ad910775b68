"""Measures the speed of training and inference: plain Keras, tfreuse, PyTorch.

    runs = training.run(training.Settings(), folder)
    print(training.markdown(runs, training.targets(runs)))

A run on a machine busy with other work is repeated once. Ratios compare runs of the same
round, which are minutes apart at most.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks import fresh, networks, table
from benchmarks.networks import Case
from benchmarks.table import Target
from tfreuse import progress
from tfreuse.errors import InputError

KERAS, OURS, TORCH = "Keras", "tfreuse", "PyTorch"  # names in steps.CONTESTANTS
WORKER = "benchmarks.steps"
AGAIN = 1
WORK = ("training", "inference")
HEADER = ("contestant", "n", "images/s", "least-most", "of PyTorch's", "least-most")
HEADER = (*HEADER, "CPU ms an image", "others %")
# Dense bfloat16 operations in 10^12 per second, by a part of the card's name (data sheets).
PEAKS = {
    "H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "A10G": 70,
    "A10": 125, "A40": 150, "A30": 165, "L40S": 362, "L40": 181, "L4": 121,
    "RTX 6000 Ada": 364, "RTX A6000": 155, "RTX 4090": 165, "RTX 4080": 97,
    "RTX 3090": 71, "T4": 65, "V100": 125,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """Extent of the measurement.

    `seconds` is the timed part of a training, and twice that of an inference. `tiny` uses
    sizes for any device, to test that all contestants run. With `cores` 1, each contestant
    has one processor and its speed is per second of processor time, which other work does not
    disturb; 0 uses all processors.
    """

    device: str = "cpu"
    runs: int = 5
    minutes: float = 30.0
    timeout: float = 300.0
    seconds: float = 2.0
    tiny: bool = False
    peak_tflops: float = 0.0  # 0: by the card's name
    cores: int = 0

    @property
    def cases(self) -> tuple[Case, ...]:
        if self.tiny:
            return networks.TINY
        return networks.GPU if self.device == "gpu" else networks.CPU


def missing() -> str:
    """Returns how to install PyTorch; "" if it is installed."""
    if importlib.util.find_spec("torch"):
        return ""
    return "PyTorch is left out: it is not installed; pip install 'tfreuse[torch]'"


def run(settings: Settings, folder: pathlib.Path) -> list[dict]:
    """Runs all contestants; returns a dict per run, with "error" instead of times if it failed.

    Raises:
        InputError: there is no /proc/stat, which shows other work, or the reference failed.
    """
    if not pathlib.Path("/proc/stat").exists():
        raise InputError(
            "the benchmark reads /proc/stat, which is there on Linux only."
        )
    flops = {}
    for case in settings.cases:
        fresh.last_line(WORKER, ["make", folder, case.name])
        flops[case.name] = networks.read(case, folder)[0]["flops"]
    names = [KERAS, OURS, *([] if missing() else [TORCH])]
    jobs = [(case, name) for case in settings.cases for name in names]
    display, runs, failed = progress.Display(settings.runs * len(jobs)), [], set()
    turns = fresh.turns(jobs, settings.runs, settings.minutes)
    for number, (round_, (case, name)) in enumerate(turns):
        display.update(number, f"{case.name}, {name}")
        if (case, name) not in failed:
            key = {"case": case.name, "name": name, "round": round_}
            measured = _once(settings, folder, case, name)
            runs.append(key | {"flops": flops[case.name]} | measured)
            if "error" in measured:
                failed.add((case, name))
    display.close()
    return runs


def _once(settings: Settings, folder: pathlib.Path, case: Case, name: str) -> dict:
    """Runs a contestant up to twice; returns the less disturbed run."""
    words = [folder, case.name, name, settings.device, settings.seconds, settings.cores]
    tries, once = [], settings.tiny or settings.cores == 1
    for _ in range(1 if once else 1 + AGAIN):
        measured = fresh.run_json(WORKER, ["run", *words], settings.timeout)
        if "error" in measured:
            return measured
        for work in WORK:
            part = measured[work]
            by_cpu = settings.cores == 1
            part["speed"] = 1e3 / part["cpu_ms"] if by_cpu else part["images_s"]
        tries.append(measured)
        if _disturbance(measured) <= fresh.QUIET:
            break
    return min(tries, key=_disturbance) | {"tries": len(tries)}


def _disturbance(run: dict) -> float:
    return max(run[work]["others"] for work in WORK)


def ratios(runs: Iterable[dict], case: str, work: str, name: str) -> np.ndarray:
    """Returns a contestant's speed over PyTorch's in the same round, for each round."""
    speed = {
        (run["name"], run["round"]): run[work]["speed"]
        for run in runs
        if run["case"] == case and work in run
    }
    quotients = [
        value / speed[TORCH, round_]
        for (contestant, round_), value in speed.items()
        if contestant == name and (TORCH, round_) in speed
    ]
    return np.array(quotients)


def targets(runs: Sequence[dict]) -> list[Target]:
    """Returns the target of each case and work: at least as fast as PyTorch."""
    rows = []
    for case in _cases(runs):
        for work in WORK:
            quotients = ratios(runs, case, work, OURS)
            if quotients.size:
                text = f"{case}: {work}, times PyTorch's images a second"
                median = float(np.median(quotients))
                rows.append(Target(text, median, 1.0, at_least=True))
    return rows


def markdown(
    runs: Sequence[dict], promised: Sequence[Target], settings: Settings | None = None
) -> str:
    """Formats medians and targets as Markdown; for a GPU with the share of its peak."""
    settings = settings or Settings()
    lines, header = [], HEADER
    if settings.device == "gpu":
        header = (*HEADER, "TFLOP/s", "of peak")
    for case in _cases(runs):
        names = sorted({run["name"] for run in runs if run["case"] == case})
        for work in WORK:
            lines += [f"### {case}: {work}", "", table.line(header)]
            lines.append(table.rule(len(header)))
            lines += [
                table.line(_cells(runs, case, work, name, settings)) for name in names
            ]
            lines.append("")
    lines += table.promises(promised)
    return "\n".join([*lines, *filter(None, [missing()])]) + "\n"


def _cases(runs: Sequence[dict]) -> list[str]:
    """Returns the names of the cases that ran, in the order of `networks`."""
    names = {run["case"] for run in runs}
    cases = (*networks.CPU, *networks.GPU, *networks.TINY)
    return [case.name for case in cases if case.name in names]


def _cells(runs, case: str, work: str, name: str, settings: Settings) -> tuple:
    selected = [run for run in runs if (run["case"], run["name"]) == (case, name)]
    if error := next((run["error"] for run in selected if "error" in run), ""):
        return (name, error)

    def column(field):
        return np.array([run[work][field] for run in selected])

    speed, against = column("speed"), ratios(runs, case, work, name)
    cells = (
        name,
        str(len(selected)),
        f"{np.median(speed):,.0f}",
        f"{speed.min():,.0f}-{speed.max():,.0f}",
        f"{np.median(against):.2f}" if against.size else "",
        f"{against.min():.2f}-{against.max():.2f}" if against.size else "",
        f"{np.median(column('cpu_ms')):.2f}",
        f"{100 * np.median(column('others')):.0f}",
    )
    if settings.device != "gpu":
        return cells
    times = 3 if work == "training" else 1  # forward pass and two gradients
    rate = times * selected[0]["flops"] * float(np.median(speed)) / 1e12
    peak = settings.peak_tflops or peak_of(selected[0]["device"])
    return (*cells, f"{rate:.1f}", f"{rate / peak:.0%}" if peak else "?")


def peak_of(card: str) -> float:
    """Returns the card's 10^12 bfloat16 operations per second by its name; 0 if unknown."""
    plain = card.replace("-", " ")
    return next((peak for part, peak in PEAKS.items() if part in plain), 0.0)
