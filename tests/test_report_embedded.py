"""The answers inside a report's page: what is in, what fits, and that nothing in them acts."""

import base64
import gzip
import json
import re

import pictured
import planted
import planted_study
import pytest

from tfreuse import report, specs
from tfreuse.analysis.arms import Part
from tfreuse.report import arrays, bundle, embedded, pixels, source
from tfreuse.report.figures import strip, svg
from tfreuse.report.views import maps, overview, pictures
from tfreuse.report.views.snapshot import Snapshot

HOSTILE = "</script><img src=x onerror=window.hacked=1>"
PART = Part("unet", planted.TO_MASKS, "independent")
NAMED = {"study": "study", **PART._asdict()}


def unpacked(script):
    """The answers in the element, by key."""
    inside = re.fullmatch(r"<script [^>]+>([A-Za-z0-9+/=]*)</script>", script)[1]
    return json.loads(gzip.decompress(base64.b64decode(inside)))


def snapshot(path):
    return Snapshot(source.load(path))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study of all factors, with pictures."""
    path = tmp_path_factory.mktemp("logs") / "study"
    planted.write(path, planted_study.records(), planted_study.SPEC)
    arrays.write(path, PART, planted_study.arrays())
    return snapshot(path)


@pytest.fixture(scope="module")
def held(whole):
    return embedded.unpack(embedded.script("study", whole).encode())


def test_every_view_that_can_be_chosen_is_answered_as_the_server_would(whole, held):
    told = held[embedded.key("study", {"study": "study"})]
    assert told["verdicts"] and told["progress"]["measured"] == len(
        whole.source.records
    )
    (part,) = told["parts"]
    for kind in part["kinds"]:
        for quantity in maps.QUANTITIES:
            for repair in part["repairs"]:
                for seed in (-1, *part["seeds"]):
                    asked = {"kind": kind, "quantity": quantity, "repair": repair}
                    key = embedded.key("heat", NAMED | asked | {"seed": seed})
                    found = maps.heat(whole, PART, kind, quantity, repair, seed)
                    assert held[key] == json.loads(json.dumps(found))
                    for drawing in found["drawings"]:
                        for mark in pictured.marks(drawing):
                            assert embedded.key("cell", NAMED | mark.data) in held
    for panel in ("reasons", "ladder", "shapley", "ages"):
        assert held[embedded.key(panel, NAMED)]["drawings"]
    asked = {"quantity": "drop", "repair": "recalibration", "seed": 1}
    (drawing,) = held[embedded.key("network", NAMED | asked)]["drawings"]
    assert drawing == maps.network(whole, PART, *asked.values())["drawings"][0]


def test_a_figure_is_once_in_the_page(whole, held):
    key = embedded.key("heat", NAMED | {"kind": "stage", "quantity": "retention"}
                       | {"repair": "none", "seed": -1})  # fmt: skip
    (markup,) = held[key]["drawings"]
    other = svg.Drawing(9, 9, "forest", "another")
    other.line(0, 0, 9, 9)
    page = f"<h1>Å</h1>{other}{markup}"
    script = embedded.script("study", whole, page=page)
    assert unpacked(script)[key]["drawings"] == [1]
    assert embedded.unpack(f"{page}{script}".encode()) == held


def test_the_answers_hold_no_element_twice(whole, held):
    drawings = [
        drawing
        for answer in unpacked(embedded.script("study", whole)).values()
        if isinstance(answer, dict)
        for drawing in answer.get("drawings", [])
    ]
    words = [entry for one in drawings for entry in one if isinstance(entry, str)]
    unchanged = [word for word in words if word.startswith("<")]
    assert len(set(unchanged)) == len(unchanged) < len(words) / 2
    elements = sum(
        markup.count("<") - markup.count("</")
        for answer in held.values()
        if isinstance(answer, dict)
        for markup in answer.get("drawings", [])
    )
    assert sum(map(len, drawings)) < elements / 2


def test_pictures_are_in_as_they_are(whole, held):
    shown = held[embedded.key("picture", NAMED | {"group": "stats"})]
    data = base64.b64decode(shown.removeprefix("data:image/png;base64,"))
    assert data == pictures.strip(whole, PART, "stats")
    stored = arrays.load(whole.source.path, PART)
    (sheet,) = strip.strip(stored, strip.strip_rows(stored))
    sheet = pixels.shortened(str(sheet))
    page = f"<h1>Å</h1>{svg.Drawing(9, 9, 'forest', 'another')}{sheet}"
    script = embedded.script("study", whole, page=page)
    key = embedded.key("picture", NAMED | {"group": "stats"})
    assert unpacked(script)[key] == {"figure": 1, "group": 2, "size": [24, 32]}
    assert embedded.unpack(f"{page}{script}".encode()) == held
    cell = {"kind": "all", "site": "all", "group": "stats"}
    assert held[embedded.key("cell", NAMED | cell)]["pictures"] is True


@pytest.mark.parametrize("budget", [45_000, 60_000, 80_000])
def test_what_does_not_fit_is_left_out_and_said(whole, held, budget):
    script = embedded.script("study", whole, budget)
    assert len(script) <= budget
    found = unpacked(script)
    keys = list(held)
    assert list(found) == keys[: len(found)]  # the first of them, in their order
    assert len(found) < len(keys)
    assert embedded.key("study", {"study": "study"}) in found
    assert "tensorboard --logdir=study" in found["left out"]


def test_nothing_is_computed_that_has_no_room(whole):
    made = []

    def following():
        for number in range(1_000):
            made.append(number)
            yield str(number), base64.b85encode(str(number).encode() * 9_000).decode()

    embedded.pack({}, following(), 10_000)
    assert 1 < len(made) < 1_000


def test_the_same_study_gives_the_same_bytes(whole):
    again = snapshot(whole.source.path)
    assert embedded.script("study", whole) == embedded.script("study", again)


def test_every_import_is_found_without_a_server():
    found = bundle.modules()
    assert {"tfreuse/api.js", "tfreuse/app.js", "tfreuse/page.js"} <= set(found)
    assert "fetch(" not in "".join(found.values())
    imported = set()
    for name, text in found.items():
        told = re.findall(r"\b(?:from|import)\b[\s(]*[\"']([^\"']+)[\"']", text)
        assert text.count("\nimport ") + text.count("import(") == len(told), name
        imported |= set(told)
        assert '"./' not in text and "'./" not in text, name
    assert imported <= set(found)
    assert imported >= set(found) - {"tfreuse/page.js"}  # none is carried for nothing


def test_a_script_ends_where_it_should():
    for text in (*bundle.scripts(), bundle.style()):
        assert "</" not in text and "<!--" not in text


def test_hostile_names_are_not_in_the_page_but_as_text(tmp_path):
    site = {"site_kind": "layer", "site": HOSTILE, "depth": 0, "group": "kernel"}
    records = planted.study() + planted.arm((0.5, 0.6, 0.4), **site)
    records += planted.study(architecture=HOSTILE)
    path = planted.write(tmp_path / "study", records)
    report.write(path)
    text = (path / "report.html").read_text()
    assert "<img src=x" not in text
    assert text.count("</script>") == text.count("<script ") == 3
    sites = {
        mark.data["site"]
        for key, answer in embedded.unpack(text.encode()).items()
        if key.startswith("heat\n")
        for drawing in answer["drawings"]
        for mark in pictured.marks(drawing)
    }
    assert HOSTILE in sites


def test_the_page_may_run_what_it_brings_and_ask_nobody(tmp_path):
    path = planted.write(tmp_path / "study", planted.study())
    report.write(path)
    text = (path / "report.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    told = dict(one.strip().split(" ", 1) for one in policy.split(";"))
    assert told["default-src"] == "'none'"
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert told["img-src"] == "data:"


def test_a_study_of_a_seed_and_one_that_goes_on_have_their_answers(tmp_path):
    one = planted.write(tmp_path / "one", planted.arm((0.1,), group="kernel"))
    found = unpacked(embedded.script("one", snapshot(one)))
    (part,) = found[embedded.key("study", {"study": "one"})]["parts"]
    assert part["headline"].startswith("Open: kernel")
    spec = specs.StudySpec()
    going = planted.write(tmp_path / "going", planted.study()[:7], spec)
    found = unpacked(embedded.script("going", snapshot(going)))
    told = found[embedded.key("study", {"study": "going"})]
    assert [part["kinds"] for part in told["parts"]] == [["all"], []]
    assert not told["progress"]["complete"]


def test_a_study_without_records_has_no_views(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    report.write(tmp_path)
    assert "<script" not in (tmp_path / "report.html").read_text()


def test_warnings_of_the_report_are_the_views_too(tmp_path):
    path = planted.write(tmp_path / "study", planted.study())
    found = snapshot(path)
    assert overview.study("study", found)["warnings"] == list(found.source.warnings)
