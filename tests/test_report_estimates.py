"""Figures of estimates: forest, two reasons, ladder, Shapley values, label curves, strips."""

import csv
import re

import pictured
import planted
import planted_study
import pytest
import test_labels_report as labelled

from tfreuse import specs
from tfreuse.analysis import arms, label_curves, tables
from tfreuse.report import drawings, figures
from tfreuse.report.figures import colours, forest, ladder, marks
from tfreuse.report.figures import label_curves as curves
from tfreuse.specs.labels import RECIPES

SPEC = planted_study.SPEC
PART = arms.Part("unet", planted.TO_MASKS, "independent")
BY_KIND = {drawing.kind: drawing for drawing in drawings.DRAWINGS}


@pytest.fixture(scope="module")
def subject():
    found = arms.by_part(planted_study.records("unet"))[PART]
    return drawings.Subject(PART, found, SPEC)


def drawn(kind, subject):
    """The rows of a kind of figure, and its drawings by their first text."""
    rows = BY_KIND[kind].rows(subject)
    return rows, titled(figures.draw(kind, rows, subject))


def titled(drawings_):
    return {pictured.texts(drawing)[0]: drawing for drawing in drawings_}


def forest_of(records, spec=planted.SPEC):
    rows = tables.forest_rows(arms.by_part(records)[PART], spec)
    return rows, forest.forest(rows, spec)


def shapes(mark, tag):
    return list(mark.node.iter(tag))


def test_the_forest_has_every_control_and_counts_a_seed_once(subject):
    rows, found = drawn("forest", subject)
    assert {row["control"] for row in rows} == {"transfer", *specs.CONTROLS}
    assert {row["n"] for row in rows} == {3}
    row = next(r for r in rows if (r["control"], r["group"]) == ("matched", "kernel"))
    everywhere = arms.Arm("matched", "all", "all", "kernel")
    draws = [subject.arms[everywhere._replace(draw=draw)][0] for draw in range(2)]
    mean = sum(record.retention for record in draws) / 2
    assert float(row["retentions"].split()[0]) == pytest.approx(mean)
    plain = pictured.marks(found["as transplanted"])
    names = [(mark.data["group"], mark.data["control"]) for mark in plain]
    assert names == [
        (row["group"], row["control"]) for row in rows if row["repair"] == "none"
    ]
    assert set(found) >= set(colours.REPAIRS.values())


def test_a_line_of_the_forest_has_its_seeds_its_interval_and_its_numbers(tmp_path):
    rows, found = forest_of(planted.study())
    figures.save(found, rows, tmp_path, "figure")
    with open(tmp_path / "figure.csv", newline="", encoding="utf-8") as file:
        held = list(csv.DictReader(file))
    assert [row["group"] for row in held] == [
        "kernel", "bias", "affine", "stats", "all",
    ]  # fmt: skip
    assert list(map(float, held[0]["retentions"].split())) == pytest.approx(
        planted.TRUE["kernel"]
    )
    kernel = pictured.marks(found[0])[0]
    assert kernel.texts == ["transfer", "0.05 [0.01, 0.72]"]
    assert kernel.tip == [
        "kernel · transfer, as transplanted", "retention 0.05 [0.01, 0.72], n = 3",
        "seeds: 0.05, 0.02, 0.08",
    ]  # fmt: skip
    (line,) = shapes(kernel, "line")
    (path,) = shapes(kernel, "path")
    seeds = [float(x) for x in re.findall(r"M([\d.]+) [\d.]+z", path.get("d"))]
    assert len(seeds) == 3
    (mean,) = [float(node.get("cx")) for node in shapes(kernel, "circle")]
    assert float(line.get("x1")) < min(seeds) < max(seeds) < float(line.get("x2"))
    assert mean == pytest.approx(sum(seeds) / 3, abs=0.05)


def test_margins_are_drawn_where_they_were_declared():
    spec = specs.StudySpec(directions=(planted.TO_MASKS,), margin=0.2, large=0.4)
    _, (first, _) = forest_of(planted.study(), spec)
    nodes = pictured.root(first).iter("line")
    x = {node.get("class"): float(node.get("x1")) for node in nodes}
    scale = {
        node.text: float(node.get("x")) for node in pictured.root(first).iter("text")
    }
    wide = scale["1"] - scale["0"]
    assert x["margin"] == pytest.approx(scale["0"] + 0.8 * wide, abs=0.02)
    assert x["dotted"] == pytest.approx(scale["0"] + 0.4 * wide, abs=0.02)


def test_values_beyond_the_axis_are_arrows_and_their_mean_is_clipped():
    _, (first, _) = forest_of(planted.arm((-50, -52, -48), group="stats"))
    (mark,) = pictured.marks(first)
    assert len(shapes(mark, "path")) == 3  # the seeds
    assert len(shapes(mark, "circle")) == 1
    assert mark.texts[-1] == "0.00 [0.00, 0.71]"


def test_an_interval_that_the_axis_cuts_ends_in_an_arrow():
    (inside,) = (forest.Bar({"mean": 0.5, "low": 0.4, "high": 0.6, "n": 3}),)
    (cut,) = (forest.Bar({"mean": 0.5, "low": -9.0, "high": None, "n": 3}),)
    drawn = [pictured.texts(forest.strip([bar], (0, 1), "x")) for bar in (inside, cut)]
    assert sorted(drawn[1]) == ["▸", "◂"] and not drawn[0]


def test_one_seed_has_the_interval_that_its_bounds_leave():
    _, (first, _) = forest_of(planted.arm((0.5,), group="stats"))
    (mark,) = pictured.marks(first)
    assert shapes(mark, "line") and mark.texts[-1] == "0.50 [0.01, 0.99]"
    row = {"mean": 0.5, "low": None, "high": None, "n": 1}
    assert "<line" not in forest.strip([forest.Bar(row)], (0, 1), "x")
    assert marks.words(row) == "0.50"


def test_every_cell_of_the_two_reasons_has_its_class(subject):
    rows, found = drawn("reasons", subject)
    panels = {
        repair: pictured.cells(found[title])
        for repair, title in (
            ("none", "as transplanted"),
            ("recalibration", "after recalibration"),
        )
    }
    assert len(panels["none"]) == 8 * len(SPEC.groups)
    fills = {}
    for row in rows:
        mark = panels[row["repair"]][row["site"], row["group"]]
        judged = mark.data["reason"] != "judged at the other repair"
        assert judged == row["decisive"]  # no cell has two reasons
        assert mark.tip[1].startswith("donor less random values: ")
        if judged:
            assert mark.data["reason"] == row["reason"]
            fills.setdefault(row["reason"], set()).update(mark.fills)
    assert sum(row["decisive"] for row in rows) == 8 * len(SPEC.groups)
    assert len(set(map(tuple, fills.values()))) == len(fills)  # a colour each


def test_the_ladder_stacks_the_shares_of_the_loss(subject):
    rows, found = drawn("ladder", subject)
    bars = {
        mark.data["part"]: float(shapes(mark, "rect")[0].get("width"))
        for mark in pictured.marks(found["kernel"])
        if mark.data["site"] == "all"
    }
    shares = {
        row["step"]: row["mean"]
        for row in rows
        if (row["group"], row["site"], row["quantity"]) == ("kernel", "all", "share")
    }
    total = sum(bars.values())
    assert {name: wide / total for name, wide in bars.items()} == pytest.approx(
        shares, abs=1e-3
    )
    assert pictured.texts(found["bias"]).count("nothing lost") == 8
    assert not pictured.marks(found["bias"])


def test_a_share_has_its_number_only_where_its_bar_has_room():
    row = {
        "quantity": "share",
        "group": "kernel",
        "site": "a",
        "low": 0,
        "high": 1,
        "n": 3,
    }
    row |= {"outcome": "lost", "control": "transfer", "depth": 0}
    rows = [
        row | {"step": step, "mean": mean}
        for step, mean in (
            ("statistics", 3.0),
            ("permutation", 0.4),
            ("features", -2.4),
        )
    ]
    drawing = ladder._shares(rows, "kernel", ["a"], (-0.25, 1.25))
    assert "300%" in pictured.texts(drawing)
    assert "40%" not in pictured.texts(drawing)  # it lies behind the axis's end
    places = [float(n.get("x")) for n in pictured.root(drawing).iter("text")]
    assert all(0 <= x <= drawing.width for x in places)


def test_levels_of_the_ladder_are_in_the_order_of_the_repairs(subject):
    rows, found = drawn("steps", subject)
    levels = {
        row["step"]: row["mean"]
        for row in rows
        if (row["group"], row["control"]) == ("kernel", "transfer")
    }
    own = [
        mark
        for mark in pictured.marks(found["kernel"])
        if mark.data["control"] == "transfer"
    ]
    assert {mark.data["repair"] for mark in own} == set(specs.REPAIRS)
    by_repair = {mark.data["repair"]: mark for mark in own}
    dots = [
        float(node.get("cy"))
        for r in specs.REPAIRS
        for node in shapes(by_repair[r], "circle")
    ]
    assert sorted(dots, reverse=True) == [
        dot for _, dot in sorted(zip([levels[r] for r in specs.REPAIRS], dots))
    ]


def test_shapley_bars_add_up_to_the_total_and_interactions_are_in_the_matrix(subject):
    rows, found = drawn("shapley", subject)
    bars = pictured.marks(found["loss of retention, divided among the roles"])
    sites = planted_study.STAGES["unet"]
    for site in sites:
        own = [mark for mark in bars if mark.data["site"] == site]
        total = own[-1]
        ends = [
            (float(node.get("x")), float(node.get("x")) + float(node.get("width")))
            for mark in own[:-1]
            for node in shapes(mark, "rect")
        ]
        assert len(ends) == 5
        row = next(r for r in rows if (r["site"], r["quantity"]) == (site, "total"))
        assert total.texts == [marks.words(row)]
        diamond = shapes(total, "path")[0].get("d")
        top = float(diamond.removeprefix("M").split(" ")[0])
        assert top == pytest.approx(max(end for _, end in ends), abs=0.6)
    cell = next(
        row
        for row in rows
        if (row["site"], row["group"]) == ("encoder_1", "kernel+stats")
    )
    matrix = pictured.marks(found["encoder_1"])
    assert len(matrix) == 10
    (own,) = (
        m for m in matrix if (m.data["first"], m.data["second"]) == ("kernel", "stats")
    )
    assert own.texts == [f"{cell['mean']:.2f}".replace("-", "−")]


@pytest.fixture(scope="module")
def fits():
    return label_curves.by_arm(labelled.planted())


def test_every_recipe_has_a_look_of_its_own():
    assert set(curves.LOOKS) == set(RECIPES)
    assert len(set(curves.LOOKS.values())) == len(RECIPES)


def test_label_curves_have_a_line_a_recipe_with_scratch_beside_each_donor(fits):
    rows = label_curves.curves(fits, 0.95)
    first, legend = curves.label_curves(rows)
    assert pictured.texts(first)[0] == "unet, donor masked"
    assert pictured.texts(legend) == ["scratch", "encoder", "head_only"]
    found = pictured.marks(first)
    assert len(found) == len(rows) == 12
    row = next(r for r in rows if (r["recipe"], r["labels"]) == ("encoder", 8))
    (mark,) = (
        m for m in found if (m.data["recipe"], m.data["labels"]) == ("encoder", "8")
    )
    assert mark.tip == ["encoder, 8 labels", f"{marks.words(row)}, n = 3"]


def test_label_savings_point_up_or_down_where_only_a_bound_is_known(fits):
    rows = label_curves.savings(fits, 0.95)
    (first, _) = curves.label_savings(rows)
    found = {(m.data["recipe"], m.data["labels"]): m for m in pictured.marks(first)}
    assert "saves at least ×" in found["encoder", "256"].tip[1]
    assert "saves at most ×" in found["head_only", "8"].tip[1]
    assert "saves ×2" in found["encoder", "8"].tip[1]


def test_stacked_bars_go_to_both_sides_of_zero():
    values = [0.5, -0.2, 0.7, -0.1]
    ends = [end for bar in marks.stacked(values) for end in bar]
    assert ends == pytest.approx([0, 0.5, -0.2, 0, 0.5, 1.2, -0.3, -0.2])


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-0.07, 0.112, [-0.05, 0, 0.05, 0.1]),
        (0.401, 0.409, [0.402, 0.404, 0.406, 0.408]),
    ],
)
def test_ticks_are_round_numbers_inside_the_axis(low, high, found):
    assert marks.ticks(low, high) == found


def test_a_strip_shades_the_side_that_supports_the_claim():
    row = {"mean": 0.5, "low": 0.4, "high": None, "n": 3}
    text = forest.strip([forest.Bar(row)], (0, 1), "words", 0.8, False, (0, 1))
    root = pictured.root(text)
    assert (root.get("width"), root.get("viewBox")) == ("100%", None)
    side, *_ = root.iter("rect")
    assert (side.get("x"), side.get("width")) == ("2.00%", "76.80%")
    line = next(node for node in root.iter("line") if node.get("class") == "interval")
    assert (line.get("x1"), line.get("x2")) == ("40.40%", "98.00%")
    assert pictured.texts(text) == ["▸", "0", "1"]  # the interval has no upper end


def test_colours_are_bright_enough_on_dark_paper():
    for colour in [one for one, _ in colours.CONTROLS.values()] + [
        *colours.GROUPS.values()
    ]:
        light, dark = colours.themed(colour)
        assert light == colour
        channels = [int(dark[i : i + 2], 16) for i in (1, 3, 5)]
        assert sum(channels) / 3 > 80
