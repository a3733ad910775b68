"""How long each command takes to answer, and to begin to train.

    runs = startup.run(rounds_=5, minutes=5, folder=folder)
    print(startup.markdown(runs, startup.targets(runs)))

Whole commands in fresh processes: the interpreter's start is counted, and the shapes of
`--dataset=shapes` have been drawn before.
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

ANSWER, STEP = 0.5, 10.0  # seconds that were promised
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
REPORT = "report of 30 records, with its figures"  # no promise: it draws for seconds
HEADER = ("command", "n", "seconds", "least-most", "CPU s")
# flags/quickstart.flags, for one of its trainings
QUICKSTART = (
    "--dataset=shapes", "--image_size=32,32", "--train_examples=2048",
    "--test_examples=128", "--architecture=unet", "--width=8", "--depth=3",
    "--steps=1000", "--batch_size=8", "--learning_rate=0.01", "--validations=3",
)  # fmt: skip


def commands(folder: pathlib.Path) -> dict[str, list[str]]:
    """What is typed, by what it is called in the table; makes the files that it needs."""
    case = Case(TINY, folder)
    fresh.last_line(rounds.WORKER, ["make", case.model, folder])
    donor, recipient = case.file("donor"), case.file("recipient")
    out, study = folder / "out.keras", folder / "study"
    transplant.apply(transplant.plan(donor, recipient), donor, recipient, out)
    study.mkdir()
    records_made.write_held(study)
    with Log(study / "records.jsonl") as log:
        for record, per_image in records_made.records(30):
            log.append(record, per_image)
    pair = [f"--donor={donor}", f"--recipient={recipient}"]
    found = {f"{tool} --help": [tool, "--help"] for tool in TOOLS}
    found["train, a flag that there is not"] = ["train", "--stpes=1"]
    found["transplant plan"] = ["transplant", "plan", *pair]
    found["transplant diff"] = ["transplant", "diff", *pair]
    found["transplant verify"] = ["transplant", "verify", *pair, f"--out={out}"]
    found["report, no such study"] = ["report", f"--study_dir={folder / 'none'}"]
    found[REPORT] = ["report", f"--study_dir={study}"]
    found[FIRST_STEP] = ["train", *QUICKSTART]
    return found


def run(rounds_: int, minutes: float, folder: pathlib.Path) -> list[dict]:
    """Every command once a round; one dict a run: its name, seconds, CPU seconds.

    Raises:
        ValueError: a training ended without a step.
    """
    typed = commands(folder)
    turns = fresh.turns(list(typed), rounds_, minutes)
    display, found = progress.Display(rounds_ * len(typed)), []
    for number, (round_, name) in enumerate(turns):
        display.update(number, name)
        tool, *words = typed[name]
        words = [sys.executable, "-m", f"tfreuse.cli.{tool}", *words]
        if name == FIRST_STEP:
            words.append(f"--out_dir={folder / f'trained_{round_}'}")
        busy, begin = _children(), time.perf_counter()
        if name == FIRST_STEP:
            _until_a_step(words)
        else:
            subprocess.run(words, capture_output=True, check=False)
        seconds = time.perf_counter() - begin
        found.append({"name": name, "seconds": seconds, "cpu_s": _children() - busy})
    display.close()
    return found


def targets(runs: Iterable[dict]) -> list[Target]:
    """What was promised: half a second to answer, ten to begin to train."""
    made = []
    for name, those in _by_name(runs):
        if name != REPORT:
            bound = STEP if name == FIRST_STEP else ANSWER
            value = float(np.median([one["seconds"] for one in those]))
            made.append(Target(f"{name}, seconds", value, bound))
    return made


def markdown(runs: Sequence[dict], promised: Sequence[Target]) -> str:
    """The medians and the promises as Markdown."""
    lines = [table.line(HEADER), table.rule(len(HEADER))]
    for name, those in _by_name(runs):
        seconds = [one["seconds"] for one in those]
        cells = (
            name,
            str(len(those)),
            f"{np.median(seconds):.2f}",
            f"{min(seconds):.2f}-{max(seconds):.2f}",
            f"{np.median([one['cpu_s'] for one in those]):.2f}",
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
    for one in runs:
        by_name.setdefault(one["name"], []).append(one)
    order = [name for name in by_name if name not in (REPORT, FIRST_STEP)]
    for name in (*sorted(order), REPORT, FIRST_STEP):
        if name in by_name:
            yield name, by_name[name]
