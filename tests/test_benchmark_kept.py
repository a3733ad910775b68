"""`tools/benchmark.py kept`: the slope is of the later units of a kind, and failures are told."""

import os

import pytest
import units

from benchmarks import kept
from tfreuse import runners
from tfreuse.runners import Folder


def unit(number, kind, memory, process=1):
    return {
        "number": number, "kind": kind, "memory": memory, "process": process,
        "seconds": 2.0, "at": float(number),
    }  # fmt: skip


RUNS = [
    {
        "runner": "local",
        # 50 MB at first, which do not count; 2 MB a unit later
        "units": [unit(n, "train", 400 + 50 * min(n, 4) + 2 * max(0, n - 4)) for n in range(8)]
        + [unit(8 + n, "measure", 700.0, process=n) for n in range(4)],
    },
    {"runner": "ray", "error": "takes over 1800 s"},
]  # fmt: skip


def test_the_slope_is_that_of_the_later_units_of_a_kind():
    train, measure = kept.rows(RUNS)
    assert (train["units"], train["workers"], train["seconds"]) == (8, 1, 2.0)
    assert (train["half"], train["end"]) == (600, 606)
    assert train["slope"] == pytest.approx(2_000)
    assert (measure["workers"], measure["slope"]) == (4, pytest.approx(0, abs=1e-6))


def test_the_table_has_kinds_and_failures():
    text = kept.markdown(RUNS)
    assert "| local | train | 8 | 1 | 2.00 | 600 | 606 | 2,000 |" in text
    assert "ray: takes over 1800 s" in text


def test_a_unit_does_its_work_and_records_its_process(tmp_path):
    work = kept._weighed(units.unit_of("a", units.note, tmp_path / "words", "b"))
    assert runners.carry_out(work, tmp_path, 1) is None
    assert (tmp_path / "words").read_text() == "b"
    ended = Folder(tmp_path, work).done()["told"]["ended"]
    assert ended["process"] == os.getpid() and ended["memory"] > 1
