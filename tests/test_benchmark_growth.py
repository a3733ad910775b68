"""`tools/benchmark.py growth`: ratios to the base, failures told, and that it runs."""

import pytest

from benchmarks import growth


def run(axis, factor, again, arms=4):
    return {"axis": axis, "factor": factor, "arms": arms} | {
        "first": 2 * again,
        "again": again,
        "memory": 50.0,
    }


RUNS = [
    run("", 1, 1.0),
    run("", 1, 2.0),
    run("", 1, 1.5),
    run("layers", 2, 6.0, arms=8),
    run("images", 2, 3.0),
    {"axis": "seeds", "factor": 2, "arms": 8, "error": "takes over 1 s"},
]


def test_every_axis_begins_at_the_base_and_tells_times_it():
    found = {(one["axis"], one["factor"]): one for one in growth.rows(RUNS)}
    assert {axis for axis, factor in found if factor == 1} == {*growth.AXES}
    assert found["layers", 2]["times"] == pytest.approx(4)
    assert found["images", 2]["times"] == pytest.approx(2)
    assert found["images", 1] | {"axis": ""} == found["seeds", 1] | {"axis": ""}
    assert ("seeds", 2) not in found


def test_the_table_has_spread_and_failures():
    text = growth.markdown(RUNS)
    assert "| images | 1 | 4 | 3 | 3.00 | 1.50 | 1.00-2.00 | 1.00 | 50 |" in text
    assert "seeds x2: takes over 1 s" in text


def test_points_double_one_size_each():
    settings = growth.Settings(factors=(1, 2), base=growth.Point(8, 3, 2, 1))
    points = list(settings.points())
    assert points[0] == ("", 1, settings.base)
    assert [(axis, point.arms) for axis, _, point in points[1:]] == [
        ("images", 6), ("layers", 12), ("groups", 12), ("seeds", 12),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_point_is_measured_in_a_process_of_its_own():
    settings = growth.Settings(1, factors=(1,), base=growth.Point(8, 2, 1, 1))
    (one,) = growth.run(settings)
    assert "error" not in one, one
    assert one["first"] > one["again"] > 0


def test_the_figure_is_drawn(tmp_path):
    growth.save_figure(RUNS, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000
