"""Runs a contestant once in a fresh process; prints its time and memory as JSON.

python -m benchmarks.worker make unet FOLDER
python -m benchmarks.worker run unet FOLDER NUMBER TASK NAME
"""

import gc
import importlib
import json
import os
import pathlib
import sys
import time

from benchmarks.case import Case, live_digests, make

_PROC = pathlib.Path("/proc/self")


def main(verb: str, model: str, folder: str, number: str = "0", *entry: str) -> None:
    case = Case(model, pathlib.Path(folder), int(number))
    if verb == "make":
        make(case)
    else:
        print(json.dumps(measure(case, *entry)))


def measure(case: Case, task: str, name: str) -> dict:
    """Measures seconds, bytes read and written, and memory of the timed call alone."""
    from benchmarks import contestants

    entry = contestants.find(task, name)
    start = time.perf_counter()
    for module in entry.imports:
        importlib.import_module(module)
    imported = time.perf_counter() - start
    work = entry.prepare(case)
    gc.collect()  # otherwise garbage of building models is collected in the timed call
    reset_peak()
    before, memory = counters(), status("VmRSS")
    start, busy = time.perf_counter(), processor()
    output = work()
    seconds, busy = time.perf_counter() - start, processor() - busy
    after = counters()
    measured = {
        "import_s": imported,
        "seconds": seconds,
        "cpu_s": busy,
        "read": after["rchar"] - before["rchar"],
        "written": after["wchar"] - before["wchar"],
        "memory": status("VmHWM") - memory,  # peak above the memory at the start
        "rss": status("VmHWM"),
    }
    if entry.out == "":
        measured["digests"] = live_digests(output)
    return measured


def processor() -> float:
    """Returns processor seconds, children included; a busy machine changes it little."""
    return sum(os.times()[:4])


def counters() -> dict[str, int]:
    """Returns bytes read and written by system calls of this process, page cache included."""
    lines = (_PROC / "io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


def status(field: str) -> int:
    """Returns VmHWM (peak memory so far) or VmRSS (memory now) in bytes."""
    for line in (_PROC / "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_PROC / 'status'} has no {field}")


def reset_peak() -> None:
    """Resets VmHWM to the present memory."""
    (_PROC / "clear_refs").write_text("5")


if __name__ == "__main__":
    main(*sys.argv[1:])
