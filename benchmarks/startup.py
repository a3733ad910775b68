"""Measures the time until each command answers, and until a training begins.

    runs = startup.run(rounds_=5, minutes=5, folder=folder)
    print(startup.markdown(runs, startup.targets(runs)))

Whole commands in fresh processes: the start of the interpreter is counted; the scenes of
`--dataset=shapes` are drawn before.
"""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks import (
    fresh,
    records_made,
    rounds,
    table,
)
from benchmarks.case import TINY, Case
from benchmarks.table import Target
from tfreuse import progress, transplant
from tfreuse.records import Log

ANSWER, STEP = 0.5, 10.0  # targets in seconds
TOOLS = (
    "train",
    "evaluate",
    "transplant",
    "study",
    "report",
    "export",
    "predict",
    "advise",
)
FIRST_STEP = "train, until its first step is done"
REPORT = (
    "report of 30 records, with its figures"  # without a target: drawing takes seconds
)
HEADER = ("command", "n", "seconds", "least-most", "CPU s")
# flags/quickstart.flags, for one of its trainings
QUICKSTART = (
    "--dataset=shapes", "--image_size=32,32", "--train_examples=2048",
    "--test_examples=128", "--architecture=unet", "--width=8", "--depth=3",
    "--steps=1000", "--batch_size=8", "--learning_rate=0.01", "--clip_norm=0.1",
    "--class_weights=balanced", "--validations=3",
)  # fmt: skip


def commands(folder: pathlib.Path) -> dict[str, list[str]]:
    """Returns command lines by their names in the table; creates the files they need."""
    case = Case(TINY, folder)
    fresh.last_line(rounds.WORKER, ["make", case.model, folder])
    donor, recipient = case.file("donor"), case.file("recipient")
    out, study = folder / "out.keras", folder / "study"
    transplant.apply(transplant.plan(donor, recipient), donor, recipient, out)
    study.mkdir()
    records_made.write_study(study)
    with Log(study / "records.jsonl") as log:
        for record, per_image in records_made.records(30):
            log.append(record, per_image)
    pair = [f"--donor={donor}", f"--recipient={recipient}"]
    lines = {f"{tool} --help": [tool, "--help"] for tool in TOOLS}
    lines["train, a flag that there is not"] = ["train", "--stpes=1"]
    lines["transplant plan"] = ["transplant", "plan", *pair]
    lines["transplant diff"] = ["transplant", "diff", *pair]
    lines["transplant verify"] = ["transplant", "verify", *pair, f"--out={out}"]
    lines["report, no such study"] = ["report", f"--study_dir={folder / 'none'}"]
    lines[REPORT] = ["report", f"--study_dir={study}"]
    lines[FIRST_STEP] = ["train", *QUICKSTART]
    return lines


def run(rounds_: int, minutes: float, folder: pathlib.Path) -> list[dict]:
    """Runs every command once per round; returns name, seconds and CPU seconds of each run.

    Raises:
        ValueError: a training ended without a step.
    """
    command_lines = commands(folder)
    turns = fresh.turns(list(command_lines), rounds_, minutes)
    display, runs = progress.Display(rounds_ * len(command_lines)), []
    for number, (round_, name) in enumerate(turns):
        display.update(number, name)
        tool, *words = command_lines[name]
        words = [sys.executable, "-m", f"tfreuse.cli.{tool}", *words]
        if name == FIRST_STEP:
            words.append(f"--out_dir={folder / f'trained_{round_}'}")
        busy, begin = _children(), time.perf_counter()
        if name == FIRST_STEP:
            _until_a_step(words)
        else:
            subprocess.run(
                words, env=fresh.environment(), capture_output=True, check=False
            )
        seconds = time.perf_counter() - begin
        runs.append({"name": name, "seconds": seconds, "cpu_s": _children() - busy})
    display.close()
    return runs


def targets(runs: Iterable[dict]) -> list[Target]:
    """Returns the targets: half a second to answer, ten seconds to begin a training."""
    rows = []
    for name, selected in _by_name(runs):
        if name != REPORT:
            bound = STEP if name == FIRST_STEP else ANSWER
            value = float(np.median([run["seconds"] for run in selected]))
            rows.append(Target(f"{name}, seconds", value, bound))
    return rows


def markdown(runs: Sequence[dict], promised: Sequence[Target]) -> str:
    """Formats medians and targets as Markdown."""
    lines = [table.line(HEADER), table.rule(len(HEADER))]
    for name, selected in _by_name(runs):
        seconds = [run["seconds"] for run in selected]
        cells = (
            name,
            str(len(selected)),
            f"{np.median(seconds):.2f}",
            f"{min(seconds):.2f}-{max(seconds):.2f}",
            f"{np.median([run['cpu_s'] for run in selected]):.2f}",
        )
        lines.append(table.line(cells))
    return "\n".join([*lines, "", *table.promises(promised)]) + "\n"


def _until_a_step(words: list[str]) -> None:
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        for line in process.stderr:
            if b" step 1/" in line:
                return
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    raise ValueError("the training ended without a step")


def _children() -> float:
    return sum(os.times()[2:4])


def _by_name(runs: Iterable[dict]) -> Iterable[tuple[str, list[dict]]]:
    by_name: dict[str, list[dict]] = {}
    for run in runs:
        by_name.setdefault(run["name"], []).append(run)
    order = [name for name in by_name if name not in (REPORT, FIRST_STEP)]
    for name in (*sorted(order), REPORT, FIRST_STEP):
        if name in by_name:
            yield name, by_name[name]
