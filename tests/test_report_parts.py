"""Figures with their CSV twins, and the checks of a report, on planted studies."""

import csv
import dataclasses

import pictured
import planted
import pytest

from tfreuse import report, specs
from tfreuse.analysis import caveats, intervals, ladder, tables
from tfreuse.analysis.arms import Part, by_part
from tfreuse.report import (
    captions,
    checks,
    content,
    drawings,
    figures,
    methods,
    results,
    source,
)
from tfreuse.report.figures import heat, marks, svg
from tfreuse.report.views import cells

PART = Part("unet", planted.TO_MASKS, "independent")


@pytest.fixture(scope="module")
def arms():
    return by_part(planted.study() + planted.stages())[PART]


def saved(figure, rows, directory):
    """What the CSV twin of a figure holds once it is saved."""
    figures.save(figure, rows, directory, "figure")
    (drawn,) = (path for path in directory.iterdir() if path.suffix != ".csv")
    assert drawn.stat().st_size > 1000
    with open(directory / "figure.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_csv_holds_retention_clipped_and_as_it_is():
    wreck = by_part(planted.arm((-50, 0.1, 0.2), group="stats"))[PART]
    row = tables.forest_rows(wreck, planted.SPEC)[0]
    assert row["mean"] == pytest.approx(0.1)
    assert row["unclipped_mean"] == pytest.approx(-49.7 / 3)
    assert list(map(float, row["retentions"].split())) == pytest.approx([-50, 0.1, 0.2])


def test_the_heat_map_draws_the_numbers_of_its_csv_twin(arms, tmp_path):
    rows = tables.heat_rows(arms, "stage", planted.SPEC)
    drawn = heat.heat_map(rows, planted.SPEC)
    held = saved(drawn, rows, tmp_path)
    for drawing, repair in zip(drawn, ("none", "recalibration"), strict=True):
        told = {
            (row["site"], row["group"]): [heat.cell_text(float(row["mean"]))]
            for row in held
            if row["repair"] == repair
        }
        cells = pictured.cells(drawing)
        assert {key: mark.texts for key, mark in cells.items()} == told
        assert [site for site, _ in cells] == ["encoder_1", "bottleneck"]
    first = pictured.cells(drawn[0])["encoder_1", "kernel"]
    assert first.tip[:2] == ["encoder_1 · kernel", "retention 0.40 [0.12, 0.82], n = 3"]


def test_a_wreck_is_drawn_as_nothing_retained_and_its_csv_has_the_value():
    site = {"site_kind": "stage", "site": "encoder_1", "depth": 0, "group": "kernel"}
    wreck = by_part(planted.arm((-50, -52, -48), **site))[PART]
    rows = tables.heat_rows(wreck, "stage", planted.SPEC)
    (drawing,) = heat.heat_map(rows, planted.SPEC)
    ((mark),) = pictured.marks(drawing)
    assert mark.texts == ["0.00"]
    assert mark.fills == ["light-dark(#b2182b, #e0544c)"]
    assert rows[0]["mean"] == 0
    assert rows[0]["unclipped_mean"] == pytest.approx(-50)


def test_cells_that_survive_re_initialisation_are_marked_and_layers_follow_their_stage(
    arms,
):
    for kind in ("stage", "layer"):
        rows = tables.heat_rows(arms, kind, planted.SPEC)
        found = {(row["stage"], row["identifiable"]) for row in rows}
        assert found == {("encoder_1", True), ("bottleneck", False)}
    drawing = heat.heat_map(rows, planted.SPEC)[0]
    dots = [site for (site, _), m in pictured.cells(drawing).items() if m.has("circle")]
    stages = {row["site"]: row["stage"] for row in rows}
    assert len(dots) == 2 and {stages[site] for site in dots} == {"bottleneck"}


def test_numbers_are_as_short_as_their_label():
    row = {"mean": -409324826.0, "low": -2170385965.0, "high": 1351736313.0, "n": 3}
    assert marks.words(row) == "−4.1e8 [−2.2e9, 1.4e9]"
    assert heat.cell_text(-409324826.0) == "−4.1e8"
    told = intervals.Interval(
        -409324826.0, -2170385965.0, 12345.0, 3, "Student t", 0.95
    )
    assert str(told) == "−4.1e8 [−2.2e9, 1.2e4]"
    assert [heat.cell_text(value) for value in (-50.4, 0.5)] == ["−50", "0.50"]


def test_the_ends_of_every_colour_scale_leave_room_for_its_middle():
    for quantity in heat.QUANTITIES:
        drawing = svg.Drawing(300, 30, "heat", "")
        heat.scale_bar(drawing, 0, 0, quantity, 0.25)
        low, *middle, high = (
            svg.text_width(text, 10) for text in pictured.texts(str(drawing))
        )
        assert len(middle) == (quantity != "retention")  # which ends at its anchor
        assert max(low, high) + sum(middle) / 2 < heat.BAR / 2


def test_a_caption_names_the_bounds_of_its_intervals():
    records = planted.arm((1.0, 1.0, 1.0)) + planted.arm((0.5, 0.6, 0.5), group="bias")
    arms = by_part(records)[PART]
    subject = drawings.Subject(PART, arms, planted.SPEC)
    caption = captions.forest(tables.forest_rows(arms, planted.SPEC), subject)
    assert "95% intervals: Gaffke's bounds. Floor" in caption


def test_a_negative_share_has_a_minus():
    records = []
    for repair, value in (
        ("none", 0.5), ("recalibration", 0.3), ("permutation", 0.3),
        ("permutation+recalibration", 0.3),
    ):  # fmt: skip
        records += planted.arm((value, value + 0.01, value - 0.01), repair=repair)
    rows = ladder.rows(by_part(records)[PART], planted.SPEC)
    texts = " ".join(
        text
        for drawing in figures.ladder.shares(rows, planted.SPEC)
        for text in pictured.texts(str(drawing))
    )
    assert "−40%" in texts and "-" not in texts


def test_without_the_control_a_cell_is_neither_marked_nor_cleared():
    records = [r for r in planted.stages() if r.control != "reinitialised"]
    rows = tables.heat_rows(by_part(records)[PART], "stage", planted.SPEC)
    assert {row["identifiable"] for row in rows} == {None}


def check_rows(tmp_path, records, spec=planted.SPEC):
    """Results of the checks by their names."""
    rows = checks.rows(source.load(planted.write(tmp_path / "study", records, spec)))
    return {row[0]: row[1] for row in rows}


def test_a_self_transplant_that_changes_anything_fails_the_check(tmp_path):
    exact = planted.arm((1.0, 1.0, 1.0), control="self")
    exact = [dataclasses.replace(r, after=r.before) for r in exact]
    name = "self-transplant changes nothing"
    assert check_rows(tmp_path, exact)[name] == "passed: 3 of 3 exact"
    wrong = exact[:2] + [planted.record(1 - 1e-12, seed=2, control="self")]
    assert check_rows(tmp_path, wrong)[name] == "FAILED: 1 of 3 differ"
    assert check_rows(tmp_path, planted.study())[name] == "not measured"


@pytest.mark.parametrize(
    ("retentions", "words"),
    [
        ((0.999, 0.999, 0.99), "AMBIENT: re-initialised, it costs 0.002"),
        ((0.5, 0.5, 0.5), "passed: re-initialised, it costs 0.30"),
        ((0.9, 0.99, 1.0), "passed: re-initialised, it costs 0.02 [−0.06"),
        ((-50, -50, -50), "passed: re-initialised, it costs 0.60"),  # down to the floor
    ],
)
def test_an_auto_encoder_that_ignores_its_bottleneck_is_called_ambient(
    tmp_path, retentions, words
):
    records = planted.arm(
        retentions, control="reinitialised", site_kind="stage", site="bottleneck",
        direction=planted.TO_IMAGES,
    )  # fmt: skip
    spec = specs.StudySpec(directions=(planted.TO_IMAGES,))
    name = "unet auto-encoder uses its bottleneck"
    assert check_rows(tmp_path, records, spec)[name].startswith(words)


def test_untrained_recipients_and_mixed_studies_fail_their_checks(tmp_path):
    found = check_rows(tmp_path, planted.study(before=0.25))
    assert found["recipients are trained"].startswith("FAILED")
    # the same sentence at the top of the page and on the console
    study = source.load(tmp_path / "study")
    sentence = caveats.untrained(study.records, study.spec)
    assert sentence.startswith("3 of 3 recipients learnt too little")
    assert "0.05 above its floor in mean_iou, under the declared minimum of 0.1" in (
        sentence
    )
    (first, *_) = content.compose(study, [], []).lead
    assert first.lines == (sentence,)
    text = report.summary(study.verdicts(), tmp_path / "study")
    assert " ".join(text.split()).startswith(sentence)
    assert sentence.endswith("Train them for longer (--steps).")
    assert caveats.untrained(planted.study(), study.spec) == ""
    given = dataclasses.replace(study.spec, directions=("donor-to-segmentation",))
    sentence = caveats.untrained(study.records, given)
    assert "--steps" not in sentence and "Give images like those" in sentence
    mixed = planted.study() + planted.arm((1, 1, 1), control="self", study="1" * 64)
    assert check_rows(tmp_path, mixed)["one study, one set of versions"].startswith(
        "FAILED"
    )


@pytest.mark.parametrize(
    ("told", "share"), [((400, 400, 400), "25.0%"), ((400, None, 400), "–")]
)
def test_coverage_is_the_share_of_the_networks_parameters(tmp_path, told, share):
    networks = {
        f"segmentation-{seed}": {"parameters": parameters}
        for seed, parameters in enumerate(told)
    }
    path = planted.write(tmp_path / "study", planted.study(), networks=networks)
    rows = checks.coverage(source.load(path))
    assert rows[0][1:] == ("kernel", "4", "100", "100", share)


def test_units_that_failed_are_warned_of_and_those_done_again_are_told(tmp_path):
    why = {"why": "no room <b>", "node": "node-2"}
    units = {
        "failed": [{"name": "measure x", **why}],
        "again": [{"name": "train y", **why}, "nonsense"],
    }
    planted.write(tmp_path / "one", planted.study(), units=units)
    found = source.load(tmp_path / "one")
    assert any("measure x: no room <b> (on node-2)" in one for one in found.warnings)
    name, told, meaning = checks.rows(found)[-1]
    assert (name, told) == ("units of work ended", "FAILED: 1 failed, 1 begun again")
    assert "measure x" in meaning and "train y: no room" in meaning
    del units["failed"]
    planted.write(tmp_path / "two", planted.study(), units=units)
    found = source.load(tmp_path / "two")
    assert checks.rows(found)[-1][1] == "passed: 1 begun again"
    assert not any("units of work" in one for one in found.warnings)
    planted.write(tmp_path / "three", planted.study(), units="nonsense")
    assert checks.rows(source.load(tmp_path / "three"))[-1][0] != "units of work ended"


def test_the_raw_r2_of_auto_encoders_stands_beside_the_fitted_one(tmp_path):
    """Records without sums of it are read as they were judged, and the report says so."""
    spec = specs.StudySpec(directions=(planted.TO_IMAGES,), seeds=2)
    facts = {"direction": planted.TO_IMAGES, "before": 0.9, "floor": 0.0}
    sums = {"squared_error": 2.0, "raw_squared_error": 490.0, "total_variation": 10.0}
    texts = {}
    for name, more in {
        "new": {"metric": "fitted_r2", "counts": sums},
        "old": {"metric": "r2", "counts": {}},
    }.items():
        arm = planted.arm((0.5, 0.8), group="affine", **facts, **more)
        study = source.load(planted.write(tmp_path / name, arm, spec))
        tables_ = results.raw_metrics(study)
        rows = tables_[0].blocks[0].rows if tables_ else ()
        texts[name] = " ".join(methods.paragraphs(study))
        raw = [cells._seed(r.seed, r)["raw"] for r in study.records]
        if name == "old":
            assert (rows, raw) == ((), [None, None])
        else:
            assert raw == [-48.0, -48.0]
            assert rows == (
                ("unet, segmentation → autoencoder", "affine", "none", "0.90, 0.90",
                 "0.45, 0.72", "−48.00, −48.00", "2"),
            )  # fmt: skip
    assert "gain and an offset" in texts["new"]
    assert "without fitted gains" in texts["old"]


def test_networks_that_were_trained_again_are_listed_with_the_rule(tmp_path):
    networks = {"a-0": {"trainings": [0.02, 0.41]}, "a-1": {}}
    for retrials in (0, 2):
        spec = specs.StudySpec(retrials=retrials)
        path = planted.write(
            tmp_path / f"{retrials}", planted.study(), spec, networks=networks
        )
        rows = {row[0]: row for row in checks.rows(source.load(path))}
        assert ("failed trainings" in rows) == bool(retrials)
    assert rows["failed trainings"][1] == "1 of 2 networks"
    assert "a-0: 0.02, then 0.41 above its floor." in rows["failed trainings"][2]
    assert "less than 0.1 above its floor" in rows["failed trainings"][2]


def test_networks_have_a_mean_a_kind_however_their_names_go_on(tmp_path):
    values = {
        "masked": (0.9, 0.7), "masked-skips-false": (0.5, 0.3),
        "unet-width-16-masked": (0.2, 0.4), "masked{}-as-segmentation-twin": (0.1, 0.1),
    }  # fmt: skip
    networks = {
        name.format(f"-{seed}") if "{}" in name else f"{name}-{seed}": {
            "task": "autoencoder",
            "metric": "r2",
            "r2": value,
        }
        for name, pair in values.items()
        for seed, value in enumerate(pair)
    }
    study = source.load(planted.write(tmp_path / "study", [], networks=networks))
    means = checks.network_means(study).removeprefix("Mean over seeds: ").split("; ")
    assert [(text.split(" [")[0], text.rstrip(".")[-5:]) for text in means] == [
        ("masked r2 0.80", "n = 2"),
        ("masked-as-segmentation-twin r2 0.10", "n = 2"),
        ("masked-skips-false r2 0.40", "n = 2"),
        ("unet-width-16-masked r2 0.30", "n = 2"),
    ]


def test_networks_are_listed_with_their_metric_and_the_mean_of_each_task(tmp_path):
    networks = {
        "b-1": {"task": "b", "metric": "r2", "r2": 0.9, "psnr": 27.25, "floor": 0.0},
        "b-0": {"task": "b", "metric": "r2", "value": 0.8, "seconds": 12.6},
        "broken": {},
    }
    study = source.load(planted.write(tmp_path / "study", [], networks=networks))
    assert checks.networks(study) == (
        ("b-0", "r2", "0.800", "–", "–", "–", "13"),
        ("b-1", "r2", "0.900", "0.000", "psnr 27.2", "–", "–"),
        ("broken", "–", "–", "–", "–", "–", "–"),
    )
    # sd 0.0707, standard error 0.05, t(1, 0.975) = 12.706
    assert checks.network_means(study) == (
        "Mean over seeds: b r2 0.85 [0.21, 1.49], n = 2."
    )
