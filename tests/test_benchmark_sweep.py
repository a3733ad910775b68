"""`tools/benchmark.py sweep`: what it promises, what it shows, and that it runs."""

import json

import pytest

from benchmarks import fresh, sweeping


def run(name, seconds, model="tiny", **more):
    return {"model": model, "name": name, "seconds": seconds, "before": 1.0} | {
        "arms": 4,
        "cpu": seconds / 2,
        "values": {"a": 0.5},
        **more,
    }


RUNS = [
    run(sweeping.NAIVE, 2.4),
    run(sweeping.EVALUATE, 0.9),
    run(sweeping.FORWARD, 0.5),
    run(sweeping.SWEEP, 0.2, ideal_seconds=0.1, first=0.3),
    run(sweeping.SWEEP, 0.1, ideal_seconds=0.1, first=0.4),
    run(sweeping.SWEEP, 0.3, ideal_seconds=0.1, first=0.5),
]


def test_promises_are_ratios_of_medians():
    found = {one.text: one for one in sweeping.targets(RUNS)}
    naive, evaluate, ideal, *others = found.values()
    assert naive.value == pytest.approx(12) and naive.met
    assert evaluate.value == pytest.approx(4.5) and evaluate.met
    assert ideal.value == pytest.approx(2) and not ideal.met
    assert [one.value for one in others] == pytest.approx([12, 4.5])


def test_the_table_has_every_contestant_losses_too():
    text = sweeping.markdown(RUNS, sweeping.targets(RUNS))
    assert "| tfreuse | 3 | 200 | 100-300 | 100 | 4 | 400 | 1.0 |" in text
    assert "not met" in text
    assert f"| {sweeping.UNFOLDED} | 0 | not run |" in text


@pytest.mark.parametrize("value", [0.502, float("nan")])
def test_a_run_of_wrong_values_has_no_time(value):
    runs = [dict(one) for one in RUNS]
    runs[3]["values"] = {"a": value}
    checked = sweeping._checked(runs)
    assert checked[3]["error"] == "wrong value: a"
    assert all("error" not in one for one in checked if one is not checked[3])


@pytest.mark.slow
def test_all_contestants_find_the_same(tmp_path, monkeypatch):
    elsewhere = fresh.last_line

    def run(module, words, timeout=None, root=fresh.ROOT):
        """Runs one contestant in a fresh process, as a benchmark does, and the others here."""
        verb, *rest = words
        if sweeping.FORWARD in words:
            return elsewhere(module, words, timeout, root)
        return json.dumps({"make": sweeping.make, "run": sweeping.measure}[verb](*rest))

    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")  # a contestant sets it
    monkeypatch.setattr(fresh, "last_line", run)
    runs = sweeping.run(sweeping.Settings(("tiny",), runs=1), tmp_path)
    assert sorted(one["name"] for one in runs) == sorted(sweeping.CONTESTANTS)
    for one in runs:
        assert "error" not in one, one
        assert one["seconds"] > 0 and one["arms"] >= 5
