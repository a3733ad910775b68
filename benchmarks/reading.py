"""Measures how long it takes to read a PyTorch state dict, and until a plan of it is shown.

    runs = reading.run(reading.Settings(runs=20), folder)
    print(reading.markdown(runs, reading.targets(runs)))

The state dict is that of a ResNet-50 with drawn values, 102 MB. Readers take turns in one process,
in another order every round, and each must first give the same values. Files are in the page
cache. Plans are whole commands in fresh processes, with modules compiled as an installation has them.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from benchmarks import fresh, table
from benchmarks.table import Target
from tfreuse import checkpoints
from tfreuse.errors import InputError

RATIO, ANSWER = 1.5, 0.5  # targets: times PyTorch's time; seconds until a plan is shown
HEADER = ("file", "reader", "n", "ms", "quartiles", "CPU ms", "ratio", "CPU ratio")
PLAN, FORMER_PLAN = "transplant plan", "transplant plan, former"
ZIP, LEGACY, SAFETENSORS = "weights.pth", "legacy.pth", "weights.safetensors"
TORCH, TURNED = "torch.load, copies", "torch.load, copies in Keras's order of axes"
OURS = "tfreuse"
_RECIPIENT = (
    "import sys, keras\nkeras.applications.ResNet50(weights=None).save(sys.argv[1])\n"
)
_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


@dataclasses.dataclass(frozen=True)
class Settings:
    """Rounds of all readers, and of all plans; no round starts after `minutes`.

    Attributes:
        stages: (width, blocks) of each stage of the network.
        plans: whether to measure plans.
        former: another checkout, whose plans take turns with those of this one.
    """

    runs: int = 20
    minutes: float = 10
    stages: Sequence[tuple[int, int]] = _STAGES
    plans: bool = True
    former: pathlib.Path | None = None


def run(settings: Settings, folder: pathlib.Path) -> list[dict]:
    """Measures every reader once per round; returns file, reader, seconds and CPU seconds.

    Raises:
        InputError: PyTorch is not installed.
        ValueError: two readers give other values.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError("reading needs PyTorch: pip install -e '.[torch]'.")
    state = _state(settings.stages)
    _write(state, folder)
    readers = _readers(folder)
    for (file, reader), read in readers.items():
        _check(state, read(), f"{reader} of {file}", turned=reader != TORCH)
    runs = []
    for _, (file, reader) in fresh.turns(
        list(readers), settings.runs, settings.minutes
    ):
        runs.append({"file": file, "reader": reader, **_timed(readers[file, reader])})
    return [*runs, *(_plans(settings, folder) if settings.plans else ())]


def targets(runs: Iterable[dict]) -> list[Target]:
    """Returns the targets: 1.5 times PyTorch's time, and half a second until a plan."""
    rows = _rows(runs)
    promised = [
        Target(f"{file}, times the time of {TORCH}", row["ratio"], RATIO)
        for (file, reader), row in rows.items()
        if reader == OURS
    ]
    return promised + [
        Target(f"{PLAN}, {file}, seconds", row["ms"] / 1000, ANSWER)
        for (file, reader), row in rows.items()
        if reader == PLAN
    ]


def markdown(runs: Sequence[dict], promised: Sequence[Target]) -> str:
    """Formats medians and targets as Markdown."""
    lines = [table.line(HEADER), table.rule(len(HEADER))]
    for (file, reader), row in _rows(runs).items():
        ratios = [
            f"{row[name]:.2f}" if row[name] else "" for name in ("ratio", "cpu_ratio")
        ]
        quartiles = "-".join(f"{value:.0f}" for value in row["quartiles"])
        cells = (file, reader, row["n"], f"{row['ms']:.0f}", quartiles)
        lines.append(table.line(map(str, (*cells, f"{row['cpu_ms']:.0f}", *ratios))))
    return "\n".join([*lines, "", *table.promises(promised)]) + "\n"


def _rows(runs: Iterable[dict]) -> dict[tuple[str, str], dict]:
    """Returns medians and quartiles in ms, by file and reader.

    Ratios are to `TORCH` of the same file, or of the zip file, and of plans to `FORMER_PLAN`.
    """
    by_reader: dict[tuple[str, str], list[dict]] = {}
    for entry in runs:
        by_reader.setdefault((entry["file"], entry["reader"]), []).append(entry)
    rows = {}
    for key, entries in sorted(by_reader.items(), key=lambda item: _order(item[0])):
        seconds, cpu = (
            np.array([entry[name] for entry in entries]) for name in ("s", "cpu_s")
        )
        own = by_reader.get((key[0], TORCH)) or by_reader.get((ZIP, TORCH))
        if key[1] in (PLAN, FORMER_PLAN):
            own = by_reader.get((key[0], FORMER_PLAN))
        ratios = [0.0, 0.0]
        if own:
            ratios = [
                float(np.median(values) / np.median([entry[name] for entry in own]))
                for name, values in (("s", seconds), ("cpu_s", cpu))
            ]
        rows[key] = {
            "n": len(entries),
            "ms": float(np.median(seconds)) * 1000,
            "quartiles": [float(q) * 1000 for q in np.quantile(seconds, [0.25, 0.75])],
            "cpu_ms": float(np.median(cpu)) * 1000,
            "ratio": ratios[0],
            "cpu_ratio": ratios[1],
        }
    return rows


def _order(key: tuple[str, str]) -> tuple[int, int]:
    files = [ZIP, LEGACY, SAFETENSORS]
    readers = [TORCH, TURNED, OURS, FORMER_PLAN, PLAN]
    return readers.index(key[1]) // 3, files.index(key[0]) * 9 + readers.index(key[1])


def _state(stages: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
    """Returns the arrays of a ResNet-50, or of one with other stages, by PyTorch's names."""
    draw = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int) -> None:
        state[name] = draw.uniform(0.5, 1.5, shape).astype(np.float32)

    def convolve(name: str, norm: str, inputs: int, outputs: int, side: int) -> int:
        add(f"{name}.weight", outputs, inputs, side, side)
        for part in ("weight", "bias", "running_mean", "running_var"):
            add(f"{norm}.{part}", outputs)
        return outputs

    channels = convolve("conv1", "bn1", 3, stages[0][0], 7)
    for stage, (width, blocks) in enumerate(stages, start=1):
        for block in range(blocks):
            path = f"layer{stage}.{block}"
            convolve(f"{path}.conv1", f"{path}.bn1", channels, width, 1)
            convolve(f"{path}.conv2", f"{path}.bn2", width, width, 3)
            outputs = convolve(f"{path}.conv3", f"{path}.bn3", width, 4 * width, 1)
            if block == 0:
                short = f"{path}.downsample"
                convolve(f"{short}.0", f"{short}.1", channels, outputs, 1)
            channels = outputs
    add("fc.weight", 1000, channels)
    add("fc.bias", 1000)
    return state


def _write(state: Mapping[str, np.ndarray], folder: pathlib.Path) -> None:
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    torch.save(tensors, folder / ZIP)
    torch.save(tensors, folder / LEGACY, _use_new_zipfile_serialization=False)
    header, end = {}, 0
    names = sorted(state)  # as the library writes them
    for name in names:
        span = [end, end := end + state[name].nbytes]
        header[name] = {
            "dtype": "F32",
            "shape": state[name].shape,
            "data_offsets": span,
        }
    text = json.dumps(header).encode()
    with open(folder / SAFETENSORS, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(state[name].tobytes() for name in names)


def _readers(folder: pathlib.Path) -> dict[tuple[str, str], Callable[[], list]]:
    """Returns functions that read all arrays of a file, by file and reader."""
    import torch

    def load(file: str) -> dict:
        # the old format cannot be mapped into memory
        return torch.load(folder / file, mmap=file == ZIP, weights_only=True)

    def copies(file: str) -> dict[str, np.ndarray]:
        return {name: tensor.clone().numpy() for name, tensor in load(file).items()}

    def turned(file: str) -> dict[str, np.ndarray]:
        return {
            name: tensor.permute(*_axes(tensor.ndim))
            .clone(memory_format=torch.contiguous_format)
            .numpy()
            for name, tensor in load(file).items()
        }

    def ours(file: str) -> dict[str, np.ndarray]:
        with checkpoints.open(folder / file) as opened:
            return {
                f"{v.layer}.{_PARTS[v.class_name, v.role]}": opened.read(v)
                for v in opened.variables
            }

    readers = {(file, TORCH): lambda f=file: copies(f) for file in (ZIP, LEGACY)}
    readers |= {(file, TURNED): lambda f=file: turned(f) for file in (ZIP, LEGACY)}
    return readers | {
        (file, OURS): lambda f=file: ours(f) for file in (ZIP, LEGACY, SAFETENSORS)
    }


_PARTS = {
    **{("BatchNormalization", r): p for r, p in (
        ("gamma", "weight"), ("beta", "bias"),
        ("moving_mean", "running_mean"), ("moving_variance", "running_var"),
    )},
    **{(c, r): p for c in ("Conv2D", "Dense") for r, p in (
        ("kernel", "weight"), ("bias", "bias"),
    )},
}  # fmt: skip


def _axes(rank: int) -> tuple[int, ...]:
    """Returns PyTorch's axes in Keras's order."""
    return (*range(2, rank), 1, 0) if rank > 1 else (0,)


def _check(state, values: Mapping[str, np.ndarray], name: str, turned: bool) -> None:
    if values.keys() != state.keys():
        raise ValueError(f"{name} gives other arrays")
    for key, array in state.items():
        expected = array.transpose(_axes(array.ndim)) if turned else array
        if not np.array_equal(values[key], expected):
            raise ValueError(f"{name} gives other values for {key}")


def _timed(function: Callable) -> dict[str, float]:
    begin, busy = time.perf_counter(), time.process_time()
    kept = function()
    seconds = {"s": time.perf_counter() - begin, "cpu_s": time.process_time() - busy}
    del kept  # until here all arrays are in memory
    return seconds


def _plans(settings: Settings, folder: pathlib.Path) -> Iterator[dict]:
    """Yields seconds of whole commands that plan into keras.applications' ResNet50."""
    folder = folder.resolve()
    recipient = folder / "recipient.keras"
    subprocess.run(
        [sys.executable, "-c", _RECIPIENT, recipient], check=True, capture_output=True
    )
    checkouts = {PLAN: fresh.ROOT, FORMER_PLAN: settings.former}
    jobs = [
        (reader, root, file)
        for reader, root in checkouts.items()
        for file in (ZIP, LEGACY, SAFETENSORS)
        if root
    ]

    def words(file: str) -> list:
        donor = f"--donor={folder / file}"
        options = (f"--recipient={recipient}", "--adapters=*_conv=zero")
        module = (sys.executable, "-m", "tfreuse.cli.transplant", "plan")
        return [*module, donor, *options]

    def plan(root: str, file: str) -> None:
        environment = fresh.environment(root)
        subprocess.run(
            words(file), cwd=root, env=environment, check=True, capture_output=True
        )

    for _, root, file in jobs:  # compiles the modules
        plan(root, file)
    for _, (reader, root, file) in fresh.turns(jobs, settings.runs, settings.minutes):
        busy, begin = sum(os.times()[2:4]), time.perf_counter()
        plan(root, file)
        seconds = time.perf_counter() - begin
        busy = sum(os.times()[2:4]) - busy
        yield {"file": file, "reader": reader, "s": seconds, "cpu_s": busy}
