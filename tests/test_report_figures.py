"""Every kind of figure: its marks are its rows, its CSV twin too, and what it lacks is said."""

import base64
import csv
import dataclasses
import html
import io
import itertools
import math
import re

import numpy as np
import pictured
import planted
import planted_study
import pytest
from PIL import Image

from tfreuse import report, specs
from tfreuse.analysis import channels, intervals, reasons, tables
from tfreuse.analysis.arms import Part, by_part, clipped_retentions
from tfreuse.errors import InputError
from tfreuse.report import (
    arrays,
    blocks,
    content,
    drawings,
    figures,
    methods,
    page,
    pixels,
    source,
    words,
)
from tfreuse.report.figures import (
    canvas,
    colours,
    heat,
    network,
    norms,
    plots,
    strip,
    svg,
)

SPEC = planted_study.SPEC
PART = Part("unet", planted.TO_MASKS, "independent")
BY_KIND = {drawing.kind: drawing for drawing in drawings.DRAWINGS}


@pytest.fixture(scope="module")
def subject():
    records = planted_study.records("unet")
    found, curves = by_part(records)[PART], channels.by_part(records)[PART]
    held = planted_study.arrays(SPEC.groups)
    ages = {age: by_part(records, age)[PART] for age in SPEC.donor_updates}
    return drawings.Subject(
        PART, found, SPEC, arrays=held, ages=ages, steps=1000, channel_curves=curves
    )


def drawn(kind, subject):
    """The rows of a kind of figure, and the figure."""
    rows = BY_KIND[kind].rows(subject)
    return rows, figures.draw(kind, rows, subject)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def lines(axes):
    """The curves that were given a name, by it."""
    return {line.get_gid(): line for line in axes.lines if line.get_gid()}


def titled(figure, title):
    (axes,) = (one for one in figure.axes if one.get_title() == title)
    return axes


@pytest.mark.parametrize("kind", BY_KIND)
def test_every_figure_has_rows_a_caption_with_n_and_a_csv_twin_equal_to_its_rows(
    kind, subject, tmp_path
):
    rows, figure = drawn(kind, subject)
    figures.save(figure, rows, tmp_path, kind)
    suffix = "svg" if kind in figures.DRAWINGS else "png"
    with open(tmp_path / f"{kind}.csv", newline="", encoding="utf-8") as file:
        held = list(csv.DictReader(file))
    assert len(held) == len(rows)
    for line, row in zip(held, rows, strict=True):
        told = {key: "" if row.get(key) is None else str(row[key]) for key in line}
        assert line == told
    caption = BY_KIND[kind].caption(rows, subject)
    measured = "n = 3 seeds; 95% intervals: " in caption and re.search(
        "Student t|Gaffke", caption
    )
    assert measured or "no interval" in caption
    assert (tmp_path / f"{kind}.{suffix}").stat().st_size < 300_000


def test_every_kind_of_figure_can_be_drawn_and_has_a_section():
    assert {*figures.DRAWINGS, *plots.DRAW} == set(BY_KIND)
    assert not {*figures.DRAWINGS} & {*plots.DRAW}
    assert set(plots.ROWS) <= set(BY_KIND)


def test_controls_can_be_told_apart_by_colour_and_mark():
    assert set(colours.CONTROLS) == {"transfer", *specs.CONTROLS}
    assert len(set(colours.CONTROLS.values())) == len(colours.CONTROLS)


def test_a_heat_map_has_a_drawing_a_repair_and_columns_for_declared_groups_alone(
    subject,
):
    _, drawn_ = drawn("stage", subject)
    titles = [pictured.texts(one)[0] for one in drawn_]
    assert titles == list(colours.REPAIRS.values())
    for one in drawn_:
        # "kernel+bias" was measured, and is no group
        assert pictured.texts(one)[2 : 2 + len(SPEC.groups)] == list(SPEC.groups)
        assert len(pictured.cells(one)) == 7 * len(SPEC.groups)
    whole = svg.beside(drawn_, "all repairs")
    assert whole.width < 950


def test_cells_that_are_not_significant_are_hatched(subject):
    rows, (first, *_) = drawn("stage", subject)
    hatched = {
        key for key, m in pictured.cells(first).items() if m.has("path", "hatch")
    }
    unproven = {
        (row["site"], row["group"])
        for row in rows
        if row["repair"] == "none" and not row["significant"]
    }
    assert hatched == unproven
    assert 0 < len(unproven) < 7 * len(SPEC.groups)


def test_hatching_stays_inside_its_box():
    lines = re.findall(
        r"M(\S+) (\S+)l(\S+)-(\S+?)(?=M|$)", heat.hatching(10, 20, 50, 18)
    )
    points = set()
    for x, y, right, up in (map(float, line) for line in lines):
        points |= {(x, y), (x + right, y - up)}
    assert len(points) > 10
    assert all(10 <= x <= 60 and 20 <= y <= 38 for x, y in points)


def test_eleven_groups_still_fit_and_long_names_are_slanted():
    spec = dataclasses.replace(
        SPEC,
        groups=("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance",
                "affine", "stats", "bn", "conv", "all"),
    )  # fmt: skip
    site = {"site_kind": "stage", "site": "encoder_1", "depth": 0}
    records = [
        r for g in spec.groups for r in planted.arm((0.5, 0.6, 0.7), group=g, **site)
    ]
    rows = tables.heat_rows(by_part(records)[PART], "stage", spec)
    (one,) = heat.heat_map(rows, spec)
    heads = [n for n in pictured.root(one).iter("text") if n.text in spec.groups]
    assert [node.text for node in heads] == list(spec.groups)
    assert all(node.get("transform").startswith("rotate(-40 ") for node in heads)
    assert one.width < 850


@pytest.mark.parametrize("architecture", ["unet", "pspnet", "plainnet"])
def test_the_network_has_a_box_a_stage_in_the_colour_of_its_retention(architecture):
    part = PART._replace(architecture=architecture)
    found = by_part(planted_study.records(architecture))[part]
    subject = drawings.Subject(part, found, SPEC)
    rows, panels = drawn("network", subject)
    stages = planted_study.STAGES[architecture]
    assert len(panels) == 2  # as transplanted, after recalibration
    for panel, repair in zip(panels, ("none", "recalibration"), strict=True):
        boxes = pictured.cells(panel, "stage")
        assert {site for site, _ in boxes} == set(stages)
        for row in rows:
            if row["repair"] == repair:
                mark = boxes[row["site"], row["group"]]
                pair = colours.scale(colours.position(row["mean"]))
                assert mark.fills == [f"light-dark({pair[0]}, {pair[1]})"]
                assert mark.texts[1] == heat.cell_text(row["mean"])
                assert mark.has("circle") == (row["identifiable"] is False)


def test_layers_are_a_strip_below_their_stage(subject):
    _, (first, *_) = drawn("network", subject)
    layers = {row["site"]: row["stage"] for row in subject.heat("layer")}
    strips = pictured.cells(first, "layer")
    assert {site for site, _ in strips} == set(layers)
    boxes = pictured.cells(first, "stage")
    for (site, group), mark in strips.items():
        (box,) = boxes[layers[site], group].node.iter("rect")
        left, width = float(box.get("x")), float(box.get("width"))
        assert left < float(mark.node.get("x")) < left + width
        assert float(mark.node.get("y")) > float(box.get("y")) + float(
            box.get("height")
        )


def test_a_u_goes_down_and_up_again_with_its_skips_and_a_pyramid_is_passed_by():
    u = network.arrange(planted_study.STAGES["unet"], skips=True)
    y = [u.boxes[name].y for name in planted_study.STAGES["unet"]]
    assert y == sorted(y[:4]) + sorted(y[:3], reverse=True)
    assert u.boxes["encoder_1"].x < u.boxes["bottleneck"].x < u.boxes["decoder_1"].x
    assert len(u.skips) == 3
    assert not network.arrange(planted_study.STAGES["unet"], skips=False).skips
    column = network.arrange(planted_study.STAGES["pspnet"], skips=True)
    assert len({box.x for box in column.boxes.values()}) == 1
    assert len(column.skips) == 1
    assert not network.arrange(("one", "two"), skips=True).skips
    assert not network.arrange(("encoder_1", "encoder_2"), skips=True).skips
    deep = [f"encoder_{n}" for n in range(1, 7)] + ["bottleneck"]
    deep += [f"decoder_{n}" for n in range(6, 0, -1)]
    for layout in (u, column, network.arrange(deep, skips=True)):
        boxes = layout.boxes.values()
        assert all(0 <= box.x0 and box.x1 <= layout.width for box in boxes)
        for one, two in itertools.combinations(boxes, 2):
            apart = abs(one.x - two.x) >= (one.width + two.width) / 2
            assert apart or abs(one.y - two.y) >= (one.height + two.height) / 2


def test_the_scale_of_retention_ends_at_one_which_no_value_exceeds():
    bars = {}
    for quantity in heat.QUANTITIES:
        drawing = svg.Drawing(200, 30, "heat", "scale")
        heat.scale_bar(drawing, 0, 0, quantity, 1.0)
        steps = [node.get("stroke") for node in pictured.root(drawing).iter("path")]
        bars[quantity] = pictured.texts(drawing), svg.resolved(steps[-1])
    named = {name: f"light-dark({', '.join(colours.scale(level))})"
             for name, level in (("anchor", 0), ("end", 1))}  # fmt: skip
    assert bars["retention"] == (["≤ 0: floor", "≥ 1: as before"], named["anchor"])
    assert bars["index"][0][-1] == "≥ 2" and bars["index"][1] == named["end"]
    record = planted.arm([1.0])[0]
    above = dataclasses.replace(record, after=2 * record.before)
    assert above.retention > 1 == clipped_retentions({0: above})[0]


def test_the_scale_is_anchored_at_one_and_its_text_can_be_read():
    assert [colours.position(v) for v in (1, -3, 9)] == [0, -1, 1]
    assert [colours.position(v, "drop", 0.5) for v in (0, 0.5)] == [0, -1]
    light = [colours.scale(place)[0] for place in (-1, 0, 1)]
    assert light == ["#b2182b", "#fafafa", "#2166ac"]

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [
            p / 12.92 if p <= 0.04 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for step in range(41):
        pairs = zip(
            colours.scale(step / 20 - 1), colours.ink(step / 20 - 1), strict=True
        )
        for fill, ink in pairs:
            low, high = sorted(map(luminance, (fill, ink)))
            assert (high + 0.05) / (low + 0.05) > 3.1, (step, fill, ink)


@pytest.mark.parametrize(
    ("architecture", "model", "skips"),
    [
        ("unet", {}, True),
        ("unet", {"skips": False}, False),
        ("unet:skips=false", {"skips": True}, False),
        ("unet:width=8:skips=true", {"skips": False}, True),
    ],
)
def test_skips_are_drawn_where_the_network_has_them(
    tmp_path, architecture, model, skips
):
    held = {"specs": {"study": SPEC.to_json(), "model": model}}
    study = source.load(planted.write(tmp_path / "study", [], **held))
    assert study.skips(PART._replace(architecture=architecture)) == skips


def test_the_skips_of_an_own_network_are_those_that_its_study_noted(tmp_path):
    held = {"specs": {"study": SPEC.to_json(), "model": {"model": "mine.keras"}}}
    held["skips"] = {"mine": [["encoder_1", "decoder_1"], 3, ["x"]], "bad": 5}
    study = source.load(planted.write(tmp_path / "study", [], **held))
    skips = study.skips(PART._replace(architecture="mine"))
    assert skips == {("encoder_1", "decoder_1")}
    layout = network.arrange(("encoder_1", "encoder_2", "decoder_1"), skips)
    (line,) = layout.skips
    assert [point[1] for point in line] == [layout.boxes["encoder_1"].y] * 2
    (past,) = network.arrange(("front", "middle", "back"), {("front", "back")}).skips
    assert len(past) == 4 and past[1][0] > layout.boxes["encoder_1"].x1
    assert not study.skips(PART._replace(architecture="other"))


def test_curves_along_the_network_go_from_input_to_output_with_the_controls(subject):
    rows, figure = drawn("cumulative", subject)
    first, second = (axes for axes in figure.axes if axes.get_title() == "kernel")
    for axes, kind in ((first, "prefix"), (second, "suffix")):
        names = [label.get_text() for label in axes.get_xticklabels()]
        assert names == list(planted_study.STAGES["unet"])
        curves = lines(axes)
        assert set(curves) == {"transfer none", "other_seed none", "reinitialised none"}
        for control in ("transfer", "other_seed"):
            own = [
                row["mean"]
                for row in rows
                if (row["site_kind"], row["group"], row["control"])
                == (kind, "kernel", control)
            ]
            assert list(curves[f"{control} none"].get_ydata()) == pytest.approx(own)
    assert len(first.collections) == 3  # a band each


def test_the_path_of_the_strength_starts_at_the_recipient(subject):
    rows, figure = drawn("strengths", subject)
    curve = lines(titled(figure, "kernel"))["all"]
    assert list(curve.get_xdata()) == [0, 0.25, 0.5, 0.75, 1]
    means = [
        row["mean"]
        for row in rows
        if (row["group"], row["quantity"]) == ("kernel", "path")
    ]
    assert list(curve.get_ydata()) == pytest.approx([1, *means])
    assert any(text.startswith("α* = ") for text in texts(titled(figure, "kernel")))


def test_profiles_are_shares_that_only_fall(subject):
    rows, panels = drawn("profiles", subject)
    (panel,) = (one for one in panels if "kernel" in pictured.texts(one))
    curve = next(
        node
        for node in pictured.root(panel).iter("g")
        if (node.get("data-control"), node.get("data-repair")) == ("transfer", "none")
    )
    points = curve.findall("polyline")[-1].get("points").split()
    heights = [float(point.split(",")[1]) for point in points]
    assert heights == sorted(heights) and heights[0] == pytest.approx(37.41)  # at 1
    shares = [
        row["mean"]
        for row in rows
        if row["quantity"] == "profile"
        and (row["group"], row["control"], row["repair"])
        == ("kernel", "transfer", "none")
    ]
    assert len(shares) == len(points) and shares[0] == 1
    assert heights[-1] == pytest.approx(
        134 - 110 * (shares[-1] + 0.08) / 1.23, abs=0.01
    )


def test_predictors_are_scattered_against_retention_with_their_correlation(subject):
    rows, figure = drawn("scatter", subject)
    points = [row for row in rows if row["quantity"] == "point"]
    axes = next(one for one in figure.axes if one.get_xlabel() == "RMSE")
    offsets = axes.collections[0].get_offsets()
    assert len(offsets) == len(points) == 14 * 3
    assert sorted(offsets[:, 0]) == pytest.approx(
        sorted(-row["-rmse"] for row in points)
    )
    found = next(
        row
        for row in rows
        if (row["quantity"], row.get("predictor")) == ("spearman", "-rmse")
    )
    assert axes.get_title().startswith(f"ρ = {intervals.number(found['mean'])}")


def test_pictures_show_outputs_with_their_errors(subject):
    rows, (drawing,) = drawn("strip", subject)
    (shown,) = pictured.root(drawing).iter("image")
    data = base64.b64decode(shown.get("href").partition(",")[2])
    sheet = np.array(Image.open(io.BytesIO(data)))
    # lines of 24 + 1 pixels: four an image; columns of 32 + 1: three, and one a group
    assert sheet.shape == (2 * 4 * 25, (3 + 6) * 33, 3)
    held = subject.arrays
    assert (sheet[100:124, :32] == held["input"][1]).all()
    assert (sheet[25:49, 66:98, 0] == held["before_error"][0]).all()
    again = sheet[150:174, 5 * 33 : 5 * 33 + 32]  # the third group, second image
    assert (again == held["recalibrated"][2, 1]).all()
    shares = [text for text in pictured.texts(drawing) if text.endswith("%")]
    assert len(shares) == 2 * 2 * 6
    assert strip.sheet(held, largest=12).shape == (8 * 9, 9 * 12, 3)
    first = next(
        row
        for row in rows
        if (row["image"], row["group"], row["output"]) == (0, "kernel", "after")
    )
    error = subject.arrays["after_error"][0, 0]
    assert first["mean_error"] == pytest.approx(error.mean() / 255)


def test_batch_normalization_has_a_dot_a_channel(subject):
    rows, panels = drawn("norms", subject)
    assert len(rows) == 28 and len(panels) == 4 + 2 * 4 + 1
    (panel,) = (one for one in panels if pictured.texts(one)[0].startswith("gamma"))
    (dots,) = (g for g in pictured.root(panel).iter("g") if g.get("class") == "dots")
    assert sum(path.get("d").count("z") for path in dots) == 28
    assert len({path.get("stroke") for path in dots}) == 3  # a colour a layer
    places = norms._positions(np.array([0.0, 1, 9]), np.array([1.0, 0, 0.5]), 0, 1)
    side = norms.SIDE * norms.FINE
    assert places.tolist() == [[0, 0], [side, side / 2], [side, side]]
    assert norms._path(places) == f"m0 0zm{side} {side // 2}zm0 {side // 2}z"
    row = rows[5]  # the second channel of the second layer
    assert (row["layer"], row["channel"]) == ("bottleneck_a_bn", 1)
    assert row["donor_gamma"] == pytest.approx(subject.arrays["bn_donor"][2, 5])


def test_kernels_and_similarities_are_shown(subject):
    rows, figure = drawn("kernels", subject)
    matrix = titled(figure, "debiased linear CKA of features").images[0].get_array()
    assert matrix.tolist() == subject.arrays["cka"].tolist()
    assert rows[1] == {
        "donor_layer": "encoder_1_a_bn", "recipient_layer": "bottleneck_a_bn", "cka": 0.4,
    }  # fmt: skip
    tiles = [image for axes in figure.axes for image in axes.images if image.get_gid()]
    assert sum(tile.get_gid() == "donor" for tile in tiles) == 16


def test_arrays_are_written_and_read_and_refused_where_they_are_none(tmp_path):
    part = PART._replace(link="same", architecture="unet:width=8")
    arrays.write(tmp_path, part, {"groups": np.array(["kernel"]), "cka": np.eye(2)})
    file = (
        tmp_path / "figures_data" / "unet_width_8_autoencoder-to-segmentation_same.npz"
    )
    assert arrays.path(tmp_path, part) == file
    held = arrays.load(tmp_path, part)
    assert held["groups"].tolist() == ["kernel"] and held["cka"].tolist() == [
        [1, 0],
        [0, 1],
    ]
    assert arrays.load(tmp_path, PART) == {}
    np.savez(file, groups=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="no plain arrays"):
        arrays.load(tmp_path, part)
    file.write_bytes(b"PK")
    with pytest.raises(InputError, match="no plain arrays"):
        arrays.load(tmp_path, part)


def test_what_the_study_lacks_is_said_with_the_flags_that_give_it(tmp_path):
    path = planted.write(tmp_path / "study", planted.study())
    report.write(path)
    text = (path / "report.html").read_text()
    for words_ in (
        "No figure “the two reasons, told apart”: it needs angle in --controls.",
        "it needs prefix, suffix in --sites.",
        "it needs 0.5 in --strengths.",
        "it needs permutation, permutation+recalibration in --repairs.",
        "shared out among roles”: it needs --shapley.",
        "the age of the donor”: it needs --donor_updates.",
        "what a transplant looks like”: it is made when the study is complete.",
        "single stages”: the study has not come to it yet",
    ):
        assert words_ in text, words_


@pytest.fixture(scope="module")
def report_of_everything(tmp_path_factory):
    path = tmp_path_factory.mktemp("everything") / "study"
    records = planted_study.records("unet")
    planted.write(path, records, SPEC)
    arrays.write(path, PART, planted_study.arrays(SPEC.groups))
    report.write(path)
    return path


def test_a_full_report_has_every_figure_and_is_small(report_of_everything):
    kinds = {
        path.stem.split("_unet_")[0]
        for path in (report_of_everything / "figures").glob("*.[sp][vn]g")
    }
    assert kinds == set(BY_KIND)
    assert (report_of_everything / "report.html").stat().st_size < 2_000_000
    text = (report_of_everything / "report.html").read_text()
    assert "No figure “" not in text
    assert text.count("<details>") == text.count("</details>") >= 3
    titles = [
        "Verdicts", "Two reasons", "All layers at once", "Where in the network",
        "What repairs win back", "Which role is to blame", "When reuse appears",
        "What predicts reuse",
        "Pictures", "Methods", "Words", "Repeat it",
    ]  # fmt: skip
    places = [text.index(f"<h2>{title}</h2>") for title in titles]
    assert places == sorted(places)


def test_a_figure_of_very_many_cells_has_its_first_panels_in_the_page_and_a_link(
    tmp_path,
):
    panels = tuple(f"<svg>{letter * 250_000}</svg>" for letter in "abc")
    picture = blocks.Picture("layer_x", "title", "caption", panels)
    made = blocks.Report("t", "s", (blocks.Section("Where", (picture,)),))
    text = page.render(made, tmp_path)
    assert "a" * 250_000 in text and "b" * 250_000 not in text
    assert 'All 3 panels: <a href="figures/layer_x.svg">' in text


def test_the_two_reasons_are_counted_in_words(report_of_everything, subject):
    rows = [r for r in BY_KIND["reasons"].rows(subject) if r["repair"] == "none"]
    still = sum(row["reason"] == "open" for row in rows)
    for name in ("report.md", "report.html"):
        text = html.unescape((report_of_everything / name).read_text())
        assert f"of {len(rows)} cells" in text
        assert f"{still} of {len(rows)}" in text
        assert reasons.REASONS["open"] in text


def test_tables_of_results_have_their_intervals(report_of_everything):
    text = (report_of_everything / "report.md").read_text()
    for words_ in (
        "Task-specific excess",
        "Is it the donor, or the repair?",
        "Is it the kind of parameter, or how far it was moved?",
        "ρ beyond depth and size",
    ):
        assert words_ in text, words_


def test_many_parts_are_seen_at_a_glance_and_opened_one_by_one(tmp_path):
    spec = specs.StudySpec(
        directions=(planted.TO_MASKS,), links=("independent", "same")
    )
    records = []
    for architecture in ("unet", "pspnet"):
        for link in spec.links:
            records += planted.study(architecture=architecture, link=link)
    study = source.load(planted.write(tmp_path / "study", records, spec))
    made = content.compose(study, study.verdicts(), [])
    glance = next(b for b in made.sections[0].blocks if isinstance(b, blocks.Table))
    assert glance.head[1:] == ("H1", "H2", "H3", "H4", "H5")
    assert len(glance.rows) == 4 and glance.rows[0][3] == "inconclusive"
    text = page.render(made, tmp_path)
    assert text.count("<details><summary>") >= 4
    assert '<span class="chip inconclusive">' in text


def test_every_word_that_the_settings_take_is_explained():
    assert words.missing() == set()
    told = dict(words.WORDS)
    assert len(told) == len(words.WORDS)
    for name in reasons.REASONS:
        assert name in told


def test_methods_tell_everything_that_was_varied(tmp_path):
    spec = dataclasses.replace(SPEC, links=specs.LINKS, fine_tuning_steps=77)
    path = planted.write(tmp_path / "study", planted_study.records("pspnet"), spec)
    text = " ".join(methods.paragraphs(source.load(path)))
    for words_ in (
        "pspnet",
        "started from the same initial values",
        "trained on from the donor",
        "α = 0.25, 0.5, 0.75, 1",
        "after 0, 10, 100 updates of its training, of 2,000 in all",
        "drawn 2 times",
        "77 updates",
        "1×1 convolution",
        "exact Shapley value",
        "general features",
        "Fieller",
        "bootstrap-t from six",
        "Benjamini and Hochberg",
        "prefixes: other_seed, reinitialised",
        *specs.CONTROLS,
        *specs.REPAIRS[1:],
    ):
        assert words_ in text, words_
    plain = specs.StudySpec(controls=(), repairs=("none",))
    path = planted.write(tmp_path / "plain", planted.study(), plain)
    text = " ".join(methods.paragraphs(source.load(path)))
    assert "no controls" in text and "Nothing was repaired" in text
    assert "Shapley" not in text and "α" not in text


def test_an_interval_without_an_end_is_drawn_to_the_axis(subject):
    rows = BY_KIND["cumulative"].rows(subject)
    endless = [row | {"low": -math.inf, "high": math.inf} for row in rows]
    canvas.picture(figures.draw("cumulative", endless, subject))


def test_a_page_has_all_pixels_of_a_figure(subject):
    _, figure = drawn("kernels", subject)
    png = canvas.picture(figure)
    address = pixels.address(png)
    kind, _, data = address.partition(",")
    assert kind == "data:image/webp;base64"
    shown = np.array(Image.open(io.BytesIO(base64.b64decode(data))))
    assert (shown == np.array(Image.open(io.BytesIO(png)).convert("RGB"))).all()
    href = f'href="data:image/png;base64,{base64.b64encode(png).decode()}"'
    assert pixels.shortened(f"<image {href}/>") == f'<image href="{address}"/>'


def test_paper_stays_white_in_256_colours(subject):
    _, figure = drawn("kernels", subject)
    with Image.open(io.BytesIO(canvas.picture(figure))) as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
