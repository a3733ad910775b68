"""How fast networks train and infer: Keras as it comes, tfreuse, PyTorch.

    runs = training.run(training.Settings(), folder)
    print(training.markdown(runs, training.targets(runs)))

A run whose machine was busy with other work is made again, once. Ratios are of
runs of one round, which stand minutes apart at most.
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
# Dense bfloat16 operations, 10^12 a second, by a part of the card's name; makers' data sheets
PEAKS = {
    "H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "A10G": 70,
    "A10": 125, "A40": 150, "A30": 165, "L40S": 362, "L40": 181, "L4": 121,
    "RTX 6000 Ada": 364, "RTX A6000": 155, "RTX 4090": 165, "RTX 4080": 97,
    "RTX 3090": 71, "T4": 65, "V100": 125,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is measured.

    `seconds` is the timed part of each training, and twice that of each inference. `tiny`
    is the same at sizes that any device takes: to see that it runs, not how fast. With `cores`
    1, each has one processor, and its speed is of processor time: other work does not disturb
    it. 0 gives all of them.
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
    """What to do to have PyTorch beside the others; "" if it is there."""
    if importlib.util.find_spec("torch"):
        return ""
    return "PyTorch is left out: it is not installed; pip install 'tfreuse[torch]'"


def run(settings: Settings, folder: pathlib.Path) -> list[dict]:
    """Measures all contestants; returns one dict a run, with "error" where there is no time.

    Raises:
        InputError: there is no /proc/stat to see other work in, or the reference failed.
    """
    if not pathlib.Path("/proc/stat").exists():
        raise InputError(
            "the benchmark reads /proc/stat, which is there on Linux only."
        )
    abouts = {}
    for case in settings.cases:
        fresh.last_line(WORKER, ["make", folder, case.name])
        abouts[case.name] = networks.read(case, folder)[0]
    names = [KERAS, OURS, *([] if missing() else [TORCH])]
    jobs = [(case, name) for case in settings.cases for name in names]
    display, found, given_up = progress.Display(settings.runs * len(jobs)), [], set()
    turns = fresh.turns(jobs, settings.runs, settings.minutes)
    for number, (round_, (case, name)) in enumerate(turns):
        display.update(number, f"{case.name}, {name}")
        if (case, name) not in given_up:
            one = _once(settings, folder, case, name)
            about = {"case": case.name, "name": name, "round": round_}
            found.append(about | {"flops": abouts[case.name]["flops"]} | one)
            if "error" in one:
                given_up.add((case, name))
    display.close()
    return found


def _once(settings: Settings, folder: pathlib.Path, case: Case, name: str) -> dict:
    """One run; the less disturbed of up to two."""
    words = [folder, case.name, name, settings.device, settings.seconds, settings.cores]
    tries, once = [], settings.tiny or settings.cores == 1
    for _ in range(1 if once else 1 + AGAIN):
        one = fresh.found(WORKER, ["run", *words], settings.timeout)
        if "error" in one:
            return one
        for work in WORK:
            part = one[work]
            own_time = settings.cores == 1
            part["speed"] = 1e3 / part["cpu_ms"] if own_time else part["images_s"]
        tries.append(one)
        if _disturbance(one) <= fresh.QUIET:
            break
    return min(tries, key=_disturbance) | {"tries": len(tries)}


def _disturbance(run: dict) -> float:
    return max(run[work]["others"] for work in WORK)


def ratios(runs: Iterable[dict], case: str, work: str, name: str) -> np.ndarray:
    """Images a second of a contestant, of PyTorch's in the same round, round by round."""
    speed = {
        (one["name"], one["round"]): one[work]["speed"]
        for one in runs
        if one["case"] == case and work in one
    }
    pairs = [
        (value, speed[TORCH, round_])
        for (who, round_), value in speed.items()
        if who == name and (TORCH, round_) in speed
    ]
    return np.array([ours / theirs for ours, theirs in pairs])


def targets(runs: Sequence[dict]) -> list[Target]:
    """What was promised: to be at least as fast as PyTorch."""
    made = []
    for case in _cases(runs):
        for work in WORK:
            found = ratios(runs, case, work, OURS)
            if found.size:
                text = f"{case}: {work}, times PyTorch's images a second"
                made.append(Target(text, float(np.median(found)), 1.0, at_least=True))
    return made


def markdown(
    runs: Sequence[dict], promised: Sequence[Target], settings: Settings | None = None
) -> str:
    """The medians and the promises as Markdown; on a GPU with the share of its peak."""
    settings = settings or Settings()
    lines, header = [], HEADER
    if settings.device == "gpu":
        header = (*HEADER, "TFLOP/s", "of peak")
    for case in _cases(runs):
        own = [one for one in runs if one["case"] == case]
        for work in WORK:
            lines += [f"### {case}: {work}", "", table.line(header)]
            lines.append(table.rule(len(header)))
            lines += [
                table.line(_cells(runs, case, work, name, settings))
                for name in sorted({one["name"] for one in own})
            ]
            lines.append("")
    lines += table.promises(promised)
    return "\n".join([*lines, *filter(None, [missing()])]) + "\n"


def _cases(runs: Sequence[dict]) -> list[str]:
    """Names of the cases that ran, in the order of `networks`."""
    ran = {one["case"] for one in runs}
    known = (*networks.CPU, *networks.GPU, *networks.TINY)
    return [case.name for case in known if case.name in ran]


def _cells(runs, case: str, work: str, name: str, settings: Settings) -> tuple:
    own = [one for one in runs if (one["case"], one["name"]) == (case, name)]
    if error := next((one["error"] for one in own if "error" in one), ""):
        return (name, error)

    def column(field):
        return np.array([one[work][field] for one in own])

    speed, against = column("speed"), ratios(runs, case, work, name)
    cells = (
        name,
        str(len(own)),
        f"{np.median(speed):,.0f}",
        f"{speed.min():,.0f}-{speed.max():,.0f}",
        f"{np.median(against):.2f}" if against.size else "",
        f"{against.min():.2f}-{against.max():.2f}" if against.size else "",
        f"{np.median(column('cpu_ms')):.2f}",
        f"{100 * np.median(column('others')):.0f}",
    )
    if settings.device != "gpu":
        return cells
    times = 3 if work == "training" else 1
    rate = times * own[0]["flops"] * float(np.median(speed)) / 1e12
    peak = settings.peak_tflops or peak_of(own[0]["device"])
    return (*cells, f"{rate:.1f}", f"{rate / peak:.0%}" if peak else "?")


def peak_of(card: str) -> float:
    """The card's 10^12 bfloat16 operations a second by its name; 0 if it is not known."""
    plain = card.replace("-", " ")
    return next((peak for part, peak in PEAKS.items() if part in plain), 0.0)
