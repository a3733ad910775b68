"""Results of forked processes: those of this process, in order, and no process left behind."""

import pathlib
import subprocess
import sys
import time

import planted
import planted_study
import pytest

from tfreuse.analysis.arms import Part
from tfreuse.report import arrays, forks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")

# The module by itself, in a process without threads and on three cores.
ALONE = f"""
import importlib.util, os, signal, sys, threading, time
spec = importlib.util.spec_from_file_location("forks", {forks.__file__!r})
forks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(forks)
os.sched_getaffinity = lambda process: range(3)
here = os.getpid()
"""


def run(code, status=0):
    """Returns the words that code prints."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == status, process.stderr
    return process.stdout.split()


def ends(process):
    """Waits until a process is gone, or a zombie that its adoptive parent leaves."""
    for _ in range(200):
        try:
            state = pathlib.Path(f"/proc/{process}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state.rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_results_come_in_order_from_several_processes():
    printed = run(f"""{ALONE}
answer = lambda number: (number, os.getpid(), "x" * 300_000)  # more than a pipe holds
answers = list(forks.results([lambda number=number: answer(number) for number in range(9)]))
print(*(number for number, _, _ in answers))
print(len({{process for _, process, _ in answers}} - {{here}}))
""")
    assert printed == [*map(str, range(9)), "3"]


def test_an_exception_of_a_job_is_raised_here():
    printed = run(f"""{ALONE}
answers = forks.results([lambda: "before", lambda: 1 / 0, lambda: "after"])
print(next(answers))
try:
    next(answers)
except ZeroDivisionError:
    print("raised", *answers)
""")
    assert printed == ["before", "raised"]


def test_jobs_of_a_killed_process_are_carried_out_here():
    printed = run(f"""{ALONE}
def job(number):
    if number == 4 and os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return number if os.getpid() != here else f"{{number}}-here"

print(*forks.results([lambda number=number: job(number) for number in range(9)]))
""")
    assert printed == ["0", "1", "2", "3", "4-here", "5", "6", "7-here", "8"]


def test_processes_end_once_nobody_asks_for_results():
    printed = run(f"""{ALONE}
answers = forks.results([os.getpid] * 3 + [lambda: time.sleep(600)] * 3)
workers = [next(answers) for _ in range(3)]
answers.close()
for worker in workers:
    try:
        os.kill(worker, 0)
    except ProcessLookupError:
        print("gone")
""")
    assert printed == ["gone"] * 3


def test_processes_end_where_this_one_is_killed():
    workers = run(
        f"""{ALONE}
answers = forks.results([os.getpid] * 3 + [lambda: "x" * 10**6] * 300)
print(*(next(answers) for _ in range(3)), flush=True)
os.kill(here, signal.SIGKILL)
""",
        status=-9,
    )
    assert len(workers) == 3
    assert all(map(ends, workers))


@pytest.mark.parametrize(
    "reason",
    [
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "sys.modules['tensorflow'] = sys  # which starts threads of its own",
        "sys.platform = 'darwin'",
        "os.sched_getaffinity = lambda process: range(1)",
        "os.fork = lambda: os.rmdir('/nowhere')  # an OSError, as of too many processes",
        "os.pipe = lambda: os.rmdir('/nowhere')  # too many open files",
    ],
)
def test_jobs_are_carried_out_here_where_a_fork_is_not_safe_or_fails(reason):
    printed = run(f"{ALONE}\n{reason}\nprint(here, *forks.results([os.getpid] * 3))")
    assert len(set(printed)) == 1


def test_a_page_holds_the_same_answers_from_one_process_and_from_three(tmp_path):
    part = Part("unet", planted.TO_MASKS, "independent")
    planted.write(tmp_path, planted_study.records(), planted_study.SPEC)
    arrays.write(tmp_path, part, planted_study.arrays())
    printed = run(f"""
import functools, hashlib, os, pathlib
from tfreuse.report import arrays, embedded, source
from tfreuse.report.views.snapshot import Snapshot

forks, fork = [], os.fork
os.fork = lambda: forks.append(1) or fork()
for cores in (1, 3):
    os.sched_getaffinity = lambda process: range(cores)
    study = source.load(pathlib.Path({str(tmp_path)!r}))
    snapshot = Snapshot(study, arrays_of=functools.partial(arrays.load, study.path))
    print(hashlib.sha256(embedded.script("study", snapshot).encode()).hexdigest())
    print(len(forks))
""")
    assert printed[1::2] == ["0", "3"]
    assert printed[0] == printed[2]
