"""Views of a study's neighbours: its label curves, and the advisor's plans beside it."""

import copy
import dataclasses
import json

import pictured
import planted
import pytest
import test_labels_report as labelled
from test_plugin import Asked

from tfreuse import report
from tfreuse.advisor import planfile
from tfreuse.report import source
from tfreuse.report.views import advice, labels
from tfreuse.report.views.snapshot import Snapshot

PLAN = {
    "format": "tfreuse advice plan 1",
    "name": "encoder@2",
    "steps": 75,
    "recipe": {"takes": "encoder", "groups": [], "copies": "values", "trains": "all",
               "statistics": "recalibrated", "name": "encoder"},
    "advice": {"donor": ["a.keras", "b.keras"], "labels": 32, "steps": 300, "folds": 5,
               "budget": 18.0},
    "about": {"abstains": False, "default": "scratch",
              "promise": {"estimate": 0.05, "low": 0.01, "high": 0.09, "n": 32,
                          "confidence": 0.95, "method": "jackknife"}},
}  # fmt: skip


def changed(path, value):
    """PLAN with what lies at the dotted path replaced; None takes it away."""
    plan = copy.deepcopy(PLAN)
    *way, last = path.split(".")
    place = plan
    for name in way:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return plan


def write(folder, plan=PLAN):
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan))


def test_label_curves_are_the_report_s(tmp_path):
    study = labelled.write(tmp_path / "study", labelled.planted())
    (study / "records.jsonl").write_text("")
    asked = Asked(tmp_path)
    told = asked.study("study")
    assert (told["parts"], told["progress"]["fits"]) == ([], 36)
    found = asked.get("/labels", study="study")
    marks = [mark for drawing in found["drawings"] for mark in pictured.marks(drawing)]
    assert len(marks) == 12 and not found["missing"]
    values = {(mark.data["recipe"], mark.data["labels"]): mark.tip[1] for mark in marks}
    assert values["scratch", "8"].startswith("0.41 [")
    assert values["encoder", "8"].startswith("0.51 [")
    assert values["encoder", "8"].endswith(", n = 3")
    gain, saved = found["tables"]
    assert gain["rows"][0][2] == "supported"
    assert saved["head"][2:] == ["8 labels", "16 labels", "64 labels", "256 labels"]
    assert saved["rows"][0][2].startswith("×2.")


def test_a_study_without_label_curves_says_what_to_run(tmp_path):
    found = Snapshot(source.load(planted.write(tmp_path / "study", planted.study())))
    told = labels.curves(found)
    assert told["drawings"] == [] and "--label_counts" in told["hint"]


def test_broken_label_curves_are_told_and_the_rest_is_shown(tmp_path):
    study = planted.write(tmp_path / "study", planted.study())
    (study / "labels.jsonl").write_text("{}\n")
    asked = Asked(tmp_path)
    told = asked.study("study")
    assert "labels.jsonl, line 1" in " ".join(told["warnings"])
    assert told["progress"]["measured"] == 15
    (study / "labels.jsonl").unlink()
    (tmp_path / "secret").write_text("password\n")
    (study / "labels.jsonl").symlink_to(tmp_path / "secret")
    asked = Asked(tmp_path)
    told = asked.study("study")
    assert "no plain file" in " ".join(told["warnings"])
    assert "password" not in json.dumps(told)


def test_plans_beside_a_study_are_cards(tmp_path):
    study = planted.write(tmp_path / "study", planted.study())
    write(study)
    write(tmp_path / "advice", changed("about.abstains", True))
    asked = Asked(tmp_path)
    asked.study("study")
    first, second = asked.get("/advice", study="study")["cards"]
    assert (first["where"], first["abstains"], first["name"]) == (
        "study", False, "encoder@2",
    )  # fmt: skip
    assert first["gain"] == {"mean": 0.05, "low": 0.01, "high": 0.09, "n": 32}
    assert pictured.texts(first["plot"]) == ["−0.09", "0", "0.09"]
    assert (first["steps"], first["asked_steps"], first["minutes"]) == (75, 300, 18.0)
    assert first["recipe"]["takes"] == "encoder" and "groups" not in first["recipe"]
    assert (second["where"], second["abstains"]) == ("advice", True)


def test_a_plan_is_what_the_advisor_writes():
    assert advice.FORMAT == planfile.FORMAT
    fields = {field.name for field in dataclasses.fields(planfile.PlanFile)}
    assert set(PLAN) <= fields | {"format"}


@pytest.mark.parametrize(
    "plan",
    [
        [],
        "text",
        changed("format", "tfreuse advice plan 2"),
        changed("about", None),
        changed("about.promise.estimate", "0.05"),
        changed("about.promise.estimate", float("nan")),
        changed("about.promise.n", 10**400),
        changed("name", {"a": 1}),
        changed("steps", True),
        changed("advice.donor", [1]),
        changed("recipe", "encoder"),
    ],
)
def test_what_is_no_plan_is_no_card(tmp_path, plan):
    write(tmp_path, plan)
    assert advice.cards([tmp_path]) == []


def test_links_and_floods_are_no_plans(tmp_path, monkeypatch):
    write(tmp_path / "secret")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/plan.json").symlink_to(tmp_path / "secret/plan.json")
    (tmp_path / "logs/linked").symlink_to(tmp_path / "secret")
    (tmp_path / "logs/deep").mkdir()
    (tmp_path / "logs/deep/plan.json").write_text("[" * 100_000)
    assert advice.cards([tmp_path / "logs", tmp_path / "missing"]) == []
    assert len(advice.cards([tmp_path])) == 1
    monkeypatch.setattr(advice, "LARGEST", 100)
    assert advice.cards([tmp_path]) == []


def test_an_infinite_interval_has_no_end(tmp_path):
    write(tmp_path, changed("about.promise.low", float("-inf")))
    (card,) = advice.cards([tmp_path])
    assert card["gain"]["low"] is None


def test_a_report_of_label_curves_alone_has_its_views(tmp_path):
    study = labelled.write(tmp_path / "study", labelled.planted())
    report.write(study)
    assert 'id="answers"' in (study / "report.html").read_text()


def test_an_advisors_plan_alone_shows_the_tab(tmp_path):
    assert not Asked(tmp_path).plugin.is_active()
    write(tmp_path / "advice")
    alone = Asked(tmp_path)
    assert alone.plugin.is_active()
    assert alone.get("/studies") == {"studies": []}
    assert len(alone.get("/advice")["cards"]) == 1
