"""The label curves' part of a report, from planted records; no TensorFlow."""

import csv
import dataclasses

import pictured
import pytest

from tfreuse import files, records, report, rundir, specs
from tfreuse.analysis import caveats
from tfreuse.few_labels.recipes import CATALOGUE
from tfreuse.report import content, labels, methods, source
from tfreuse.specs.labels import LabelSpec

COUNTS = (8, 16, 64, 0)
ALL = 256
SPEC = LabelSpec(
    label_counts=COUNTS,
    recipes=("scratch", "encoder", "head_only"),
    label_donors=("masked",),
)
GAINS = {"scratch": 0.0, "encoder": 0.1, "head_only": -0.3}
STUDY = specs.StudySpec(seeds=3, directions=())
EMPTY = source.Source(
    path=None, records=(), spec=specs.StudySpec(), specs={}, versions={},
    networks={}, warnings=(),
)  # fmt: skip


def planted(seeds=3, spec=SPEC, **changes):
    found = []
    for donor, recipe in spec.arms():
        for seed in range(seeds):
            for place, asked in enumerate(COUNTS):
                value = 0.4 + 0.1 * place + GAINS[recipe] + 0.01 * seed * (seed - 1)
                value += 0.004 * seed * (recipe != "scratch")
                found.append(
                    records.LabelRecord(
                        study="f" * 64, architecture="unet", donor=donor,
                        donor_digest="d", recipe=recipe, seed=seed, asked=asked,
                        labels=asked or ALL, subset="x", steps=300, learning_rate=1e-3,
                        tried={}, metric="mean_iou", value=value, floor=0.1,
                        course=((30, value / 2), (300, value)), counts={}, images=96,
                        cost=1.0, seconds=1.0, versions={"tfreuse": "0"},
                    )
                )  # fmt: skip
    return [dataclasses.replace(one, **changes) for one in found]


def write(path, found, spec=SPEC):
    path.mkdir(parents=True)
    named = {"study": STUDY, "data": specs.DataSpec(), "model": specs.ModelSpec(),
             "train": specs.TrainSpec(), "labels": spec}  # fmt: skip
    held = rundir.claim(path / "study.json", named)
    held["recipes"] = {name: CATALOGUE[name].describe() for name in spec.recipes}
    held["networks"] = {"masked-0": {"metric": "r2", "r2": 0.9}}
    files.write_json(path / "study.json", held)
    with records.LabelLog(path / "labels.jsonl") as log:
        for one in found:
            log.append(one)
    return path


@pytest.fixture(scope="module")
def study_dir(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("labels") / "study", planted())
    report.write(path)
    return path


def test_the_report_tells_what_the_curves_say(study_dir):
    text = (study_dir / "report.md").read_text().replace("\\", "")
    assert f"## {labels.TITLE}" in text
    assert "| unet | encoder of masked | ✅ supported | 0.10 [0.09, 0.11] | 3 |" in text
    assert "| unet | head_only of masked | ❌ refuted |" in text
    for words in (
        "Label saving",
        "Updates to 90 %",
        CATALOGUE["encoder"].describe()[:40],
    ):
        assert words in text
    page = (study_dir / "report.html").read_text()
    for name in ("test metric", "labels saved"):
        assert f'aria-label="unet, donor masked: {name}"' in page
    assert "Incomplete" not in page.split(labels.TITLE)[2][:2000]


def test_a_figure_has_its_rows_as_a_csv(study_dir):
    for name, count in ((labels.CURVES, 12), (labels.SAVINGS, 8)):
        path = study_dir / "figures" / f"{name}_unet.csv"
        rows = list(csv.DictReader(path.read_text().splitlines()))
        assert len(rows) == count and {row["n"] for row in rows} == {"3"}
        assert path.with_suffix(".svg").stat().st_size > 2000
    saved = {(row["recipe"], row["labels"]): row for row in rows}
    # 0.1 more is one step of scratch's curve: 8 labels are worth some 16, 16 some 64
    assert float(saved["encoder", "8"]["mean"]) == pytest.approx(2, rel=0.1)
    assert float(saved["encoder", "16"]["mean"]) == pytest.approx(4, rel=0.1)
    assert saved["encoder", "256"]["censored"] == ">"
    assert saved["encoder", "256"]["high"] == "inf"
    assert saved["head_only", "8"]["censored"] == "<"


def test_verdicts_json_has_the_arms_with_their_savings(study_dir):
    told = files.read_json(study_dir / "verdicts.json")
    assert told["study"] == "f" * 64 and told["verdicts"] == []
    scratch, encoder, head = told["labels"]
    assert "verdict" not in scratch
    assert (encoder["verdict"], head["verdict"]) == ("supported", "refuted")
    assert encoder["p"] <= encoder["p_holm"] < 0.05
    assert [one["labels"] for one in encoder["savings"]] == [8, 16, 64, ALL]
    assert encoder["savings"][-1]["high"] is None


def test_the_terminal_gets_a_line_an_arm_within_its_width(study_dir):
    text = report.summary([], study_dir)
    assert "supported     0.10 [0.09, 0.11]" in text
    assert "labels saved with 8: ×2." in text
    assert max(map(len, text.splitlines())) <= report.WIDTH
    assert report.summary([]) == "No verdict: no arm has been measured yet."


LONG = "masked:skips=false:corruption=inpaint:augment=flip+zoom"
DONORS = dataclasses.replace(
    SPEC, label_counts=(8,), label_donors=("masked", LONG, f"{LONG}:unlabelled=all")
)


def planted_gains():
    """Fits with one number of labels, from donors with long names."""
    return [record for record in planted(spec=DONORS) if record.labels == 8]


@pytest.fixture(scope="module")
def gains_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("gains") / "study"
    report.write(write(path, planted_gains(), DONORS))
    return path


def test_verdicts_json_has_the_gains_of_one_number_of_labels(gains_dir):
    scratch, first, *_ = files.read_json(gains_dir / "verdicts.json")["labels"]
    assert (scratch["recipe"], scratch["labels"]) == ("scratch", 8)
    assert (
        first["gain_mean"] == pytest.approx(0.10, abs=0.01) and "verdict" not in first
    )


def test_one_number_of_labels_has_a_line_an_arm_with_its_gain(gains_dir):
    head, scratch, first, second, *others = report.summary([], gains_dir).splitlines()
    assert head == "unet, gain over scratch with 8 labels"
    assert scratch == "  scratch: test metric 0.41 [0.38, 0.44], n = 3"
    assert first == f"  {'0.10 [0.09, 0.11]':<22}  n = 3   encoder of masked"
    assert second.endswith("n = 3   head_only of masked") and "−0.30 [" in second
    assert sum("n = 3" in line for line in others) == 4
    # without scratch there is no gain yet
    rest = [record for record in planted_gains() if record.donor][:1]
    text = report.summary([], write(gains_dir.parent / "rest", rest, DONORS))
    assert text.splitlines()[1] == f"  {'–':<22}  n = 0   encoder of masked"


def test_one_number_of_labels_is_drawn_as_gains_with_upright_intervals(gains_dir):
    study = source.load(gains_dir)
    (figure,) = labels.figures_of(study, labels.CURVES)
    assert figure.title == "unet: gain over scratch"
    assert figure.caption.startswith(
        "Gain in mean_iou over scratch with 8 labelled images, paired by seed, a panel a donor; "
        "upright lines: the intervals; horizontal line: no gain. n = 3 seeds; 95% intervals: "
    )
    *panels, legend = figure.drawings
    assert pictured.texts(legend) == ["encoder", "head_only"]
    for panel in panels:
        encoder, head = pictured.marks(panel)
        assert encoder.tip == ["encoder, 8 labels", "gain 0.10 [0.09, 0.11], n = 3"]
        (line,) = encoder.node.iter("line")
        low, high = (float(line.get(end)) for end in ("y1", "y2"))
        # the arm of -0.3 and zero give the scale, in pixels
        (zero,) = (
            float(one.get("y1"))
            for one in pictured.root(panel).iter("line")
            if one.get("class") == "axis"
        )
        (lower,) = head.node.iter("line")
        middle = (float(lower.get("y1")) + float(lower.get("y2"))) / 2
        unit = (middle - zero) / 0.296
        # t(2, 0.975) = 4.303; the gains are 0.1, 0.104 and 0.108
        assert (low - high) / unit == pytest.approx(
            2 * 4.303 * 0.004 / 3**0.5, abs=1e-3
        )
        assert (zero - (low + high) / 2) / unit == pytest.approx(0.104, abs=1e-3)
        assert line.get("x1") == line.get("x2") != lower.get("x1")
    text = labels.protocol(study)
    assert "averaged over log n" not in text and "part of the more" not in text


def test_panels_tell_donors_with_long_names_apart(gains_dir):
    (figure,) = labels.figures_of(source.load(gains_dir), labels.CURVES)
    titles = [
        "".join(
            node.text + " " * node.text.endswith(",")
            for node in reversed(list(pictured.root(panel).iter("text")))
            if node.get("class") == "title"
        )
        for panel in figure.drawings[:-1]
    ]
    donors = sorted(DONORS.label_donors)
    assert [title.replace(" ", "") for title in titles] == [
        f"unet,donor{donor}" for donor in donors
    ]
    assert len({panel.height for panel in figure.drawings[:-1]}) == 1


def test_a_recipe_with_one_number_of_labels_has_its_interval_in_a_curve_too():
    fits = [r for r in planted() if r.recipe != "encoder" or r.labels == 8]
    study = dataclasses.replace(EMPTY, labels=tuple(fits))
    (figure,) = labels.figures_of(study, labels.CURVES)
    assert "; shaded or an upright line: the interval;" in figure.caption
    lines = {
        mark.data["recipe"]: len(list(mark.node.iter("line")))
        for mark in pictured.marks(figure.drawings[0])
    }
    assert lines == {"scratch": 0, "head_only": 0, "encoder": 1}


def test_an_unfinished_study_says_how_much_is_there(tmp_path):
    study = source.load(write(tmp_path / "study", planted()[:7]))
    (warning, *_) = labels.section(study, []).blocks
    assert "7 of 36 fits" in warning.lines[0]
    report.write(study.path)


def test_one_seed_and_one_number_of_labels_are_reported_too(tmp_path):
    found = [one for one in planted(1) if one.asked == 8]
    path = write(tmp_path / "study", found)
    report.write(path)
    text = (path / "report.md").read_text().replace("\\", "")
    assert "supported |" not in text and "0.40 [−∞, ∞]" in text


def test_hostile_names_stay_text(tmp_path):
    path = write(tmp_path / "study", planted(architecture="<b>|x"))
    report.write(path)
    assert "<b>|x" not in (path / "report.html").read_text()


def test_methods_tell_the_budget_and_what_chose_the_rate(study_dir):
    (text,) = methods.paragraphs(source.load(study_dir))
    for words in ("300 updates", "0.001, 0.004", "quarter of the n labels", "3 seeds"):
        assert words in text


def test_the_report_says_what_each_donor_learned_from():
    donors = "masked", "masked:unlabelled=all", "foreground", "pretrained"
    text = labels._of_donors(LabelSpec(label_donors=donors))
    assert "Donors masked, masked:unlabelled=all saw the training images" in text
    assert (
        "without labels; with unlabelled=all, also those of validation and test."
        in (text)
    )
    assert "Donor foreground learned from the labels of the training images" in text
    assert "no saving of labels. Donor pretrained is the encoder" in text


@pytest.mark.parametrize("lacking", [0, 1])
def test_curves_that_need_no_trained_network_can_be_complete(tmp_path, lacking):
    path = write(tmp_path / "study", planted())
    content = files.read_json(path / "study.json")
    content |= {"networks": {}, "units": {"lacking": lacking}}
    files.write_json(path / "study.json", content)
    study = source.load(path)
    assert study.complete == (lacking == 0)
    assert any("no trained networks yet" in line for line in study.warnings) == lacking


def test_fits_that_hardly_learned_are_named_at_the_top_and_on_the_console(tmp_path):
    fits = planted()
    assert caveats.untrained_fits(fits, STUDY) == ""
    poor = [dataclasses.replace(record, floor=0.95) for record in fits]
    path = write(tmp_path / "study", poor)
    sentence = caveats.untrained_fits(poor, STUDY)
    assert sentence.startswith(f"3 of 3 fits from scratch with {ALL} labels learnt too")
    assert "below its floor in mean_iou, under the declared minimum" in sentence
    study = source.load(path)
    (first, *_) = content.compose(study, [], []).lead
    assert first.lines == (sentence,)
    assert sentence in " ".join(report.summary([], path).split())


def test_a_study_without_curves_has_no_such_section():
    assert labels.section(EMPTY, []) is None
    assert labels.draw(EMPTY, None) == labels.summary(EMPTY) == []
