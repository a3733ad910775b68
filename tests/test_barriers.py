"""The barrier on the way to a donor: planted ways, and networks whose barrier is known."""

import dataclasses

import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import barriers

SPEC = specs.StudySpec(
    directions=(planted.TO_MASKS,),
    groups=("kernel",),
    sites=("all",),
    controls=("other_seed",),
    repairs=("none", "recalibration"),
    strengths=(0.25, 0.5, 1.0),
    seeds=6,
)


def rows_of(*ways, paired=False):
    """Returns the rows of planted ways: pairs of retention by alpha, and the arm's fields.

    With `paired` the donors of the control other_seed are the recipients of seeds 0 and 1, 2 and
    3 and so on, each the other's; else they are nobody's.
    """
    records = [
        record
        for way, fields in ways
        for alpha, retention in way.items()
        for record in planted.arm(
            retention + 0 * planted.NOISE, site_kind="all", site="all", depth=-1,
            group="kernel", strength=alpha, **fields,
        )
    ]  # fmt: skip
    if paired:
        records = [
            dataclasses.replace(r, donor=f"net-{r.seed ^ 1}", recipient=f"net-{r.seed}")
            for r in records
        ]
    return barriers.rows(planted.only_part(records), SPEC)


def means(rows, quantity):
    return {
        (row["control"], row["repair"]): row["mean"]
        for row in rows
        if row["quantity"] == quantity
    }


def test_a_barrier_is_the_lowest_network_below_the_line_between_both_ends():
    rows = rows_of(
        ({0.25: 0.9, 0.5: 0.1, 1.0: 0.6}, {}),  # line at 0.5: 0.8
        ({0.25: 0.9, 0.5: 0.5, 1.0: 0.6}, {"repair": "recalibration"}),
        ({0.25: 1.0, 0.5: 1.0, 1.0: 0.2}, {"control": "other_seed"}),  # above it
    )
    assert means(rows, "barrier") == {
        ("transfer", "none"): pytest.approx(0.7),
        ("transfer", "recalibration"): pytest.approx(0.3),
        ("other_seed", "none"): 0,
    }
    assert means(rows, "lowered") == {("transfer", "recalibration"): pytest.approx(0.4)}
    way = [r for r in rows if (r["control"], r["quantity"]) == ("other_seed", "path")]
    assert [(row["alpha"], row["mean"]) for row in way] == [
        (0.25, 1), (0.5, 1), (1.0, pytest.approx(0.2)),
    ]  # fmt: skip
    low = {r["control"]: r["low"] for r in rows if r["quantity"] == "barrier"}
    assert low["other_seed"] == 0


def test_seeds_that_are_each_others_donor_count_once():
    rows = rows_of(
        ({0.5: 0.1, 1.0: 0.6}, {}),
        ({0.5: 0.1, 1.0: 0.6}, {"control": "other_seed"}),
        paired=True,
    )
    counts = {(row["control"], row["n"]) for row in rows}
    assert counts == {("transfer", 6), ("other_seed", 3)}
    low = {r["control"]: r["low"] for r in rows if r["quantity"] == "barrier"}
    assert low["other_seed"] < low["transfer"]


def test_a_full_transplant_without_a_way_has_no_barrier():
    assert rows_of(({1.0: 0.5}, {})) == []
    assert rows_of(({0.25: 0.5, 0.5: 0.5}, {})) == []
