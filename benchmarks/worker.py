"""One run of one contestant in a process of its own; prints what it cost as JSON.

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


def main(verb: str, model: str, folder: str, *rest: str) -> None:
    case = Case(model, pathlib.Path(folder), int(rest[0]) if rest else 0)
    if verb == "make":
        make(case)
    else:
        print(json.dumps(measure(case, *rest[1:])))


def measure(case: Case, task: str, name: str) -> dict:
    """Seconds, bytes read and written, and memory, all of the timed call alone."""
    from benchmarks import contestants

    entry = contestants.find(task, name)
    start = time.perf_counter()
    for module in entry.imports:
        importlib.import_module(module)
    imported = time.perf_counter() - start
    work = entry.prepare(case)
    gc.collect()  # what building models left would be collected in the middle of the call
    reset_peak()
    before, memory = counters(), status("VmRSS")
    start, busy = time.perf_counter(), _processor()
    result = work()
    seconds, busy = time.perf_counter() - start, _processor() - busy
    after = counters()
    found = {
        "import_s": imported,
        "seconds": seconds,
        "cpu_s": busy,
        "read": after["rchar"] - before["rchar"],
        "written": after["wchar"] - before["wchar"],
        "memory": status("VmHWM") - memory,  # above what was there at the start
        "rss": status("VmHWM"),
    }
    if entry.out == "":
        found["digests"] = live_digests(result)
    return found


def _processor() -> float:
    """Seconds of processor time, children included: a busy machine changes it little."""
    return sum(os.times()[:4])


def counters() -> dict[str, int]:
    """Bytes that system calls of this process have read and written, page cache included."""
    lines = (_PROC / "io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


def status(field: str) -> int:
    """Bytes of VmHWM (the most memory so far) or VmRSS (memory now)."""
    for line in (_PROC / "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_PROC / 'status'} has no {field}")


def reset_peak() -> None:
    """Makes VmHWM start again from the memory of now."""
    (_PROC / "clear_refs").write_text("5")


if __name__ == "__main__":
    main(*sys.argv[1:])
