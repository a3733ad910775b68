"""`tools/benchmark.py recalibration` and `recovery`: sums by hand, and that they run."""

import numpy as np

from benchmarks import recalibration, recovery


def test_the_ratio_is_of_the_medians_of_processor_time():
    runs = [
        {"pass": name, "round": n, "seconds": 9.0, "cpu": cpu + n}
        for name, cpu in zip(
            (recalibration.FORWARD, recalibration.EXACT, recalibration.ONE_PASS),
            (7, 9, 15),
        )
        for n in (0, 1, 2)
    ]
    exact, once = recalibration.targets(runs)
    assert exact.value == 0.8 and exact.met
    assert once.value == 0.5 and not once.met
    assert "| recalibrate | 10.00 | 9.00 | 3 |" in recalibration.markdown(
        runs, [exact, once]
    )


def test_passes_run_and_give_the_layers_own_statistics():
    settings = recalibration.Settings(runs=1, images=3, many=0)
    names = {run["pass"] for run in recalibration.run(settings)}
    assert len(names) == 3  # and the statistics were compared


def test_drawn_images_are_the_same_each_time():
    images = recalibration.Drawn(5)
    np.testing.assert_array_equal(images[2:4], images[2:4])
    assert len(images) == 5 and len(images[4:9]) == 1


def test_recovery_runs_and_draws_its_figure(tmp_path):
    settings = recovery.Settings(
        counts=(1, 8), seeds=2, steps=2, width=4, depth=1, side=16, test_images=4
    )
    rows = recovery.run(settings, tmp_path)
    assert [row["images"] for row in rows] == 6 * [1, 8]
    (before,) = {row["before"] for row in rows if row["case"] == recovery.RIGHT}
    assert before == rows[0]["clean"]
    recovery.save_figure(rows, tmp_path / "recovery")
    assert (tmp_path / "recovery.png").stat().st_size > 5_000
    assert (tmp_path / "recovery.svg").read_text().count("<path") > 6
    assert "| shuffled" in recovery.markdown(rows)
