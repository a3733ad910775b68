"""The plugin's server side: studies found, followed while they grow, asked by hostile hands."""

import argparse
import base64
import dataclasses
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pictured
import planted
import planted_study
import pytest
from PIL import Image
from tensorboard.plugins import base_plugin
from werkzeug.test import Client

from tfreuse import report
from tfreuse.analysis import tables
from tfreuse.analysis.arms import Part, by_part
from tfreuse.report import (
    arrays,
    bundle,
    embedded,
    source,
)
from tfreuse.report.figures import heat, marks
from tfreuse.report.plugin import (
    Reusability,
    discovery,
    follower,
    live,
)
from tfreuse.report.views import maps, pictures
from tfreuse.report.views.snapshot import Snapshot, to_text

PART = {
    "architecture": "unet",
    "direction": planted.TO_MASKS,
    "link": "independent",
}
HOSTILE = "<img src=x onerror=alert(1)>; rm -rf $HOME '"


class Asked:
    """A plugin on a log directory, and the answers of its routes."""

    def __init__(self, logdir, spec=""):
        flags = argparse.Namespace(logdir_spec=spec)
        context = base_plugin.TBContext(logdir=str(logdir), flags=flags)
        self.plugin = Reusability(context)
        self.apps = self.plugin.get_plugin_apps()

    def raw(self, route, method="GET", **asked):
        client = Client(self.apps[route])
        return client.open(route, method=method, query_string=asked)

    def get(self, route, **asked):
        answer = self.raw(route, **asked)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text)

    def refused(self, route, **asked):
        answer = self.raw(route, **asked)
        assert answer.content_type.startswith("text/plain")
        assert "\n" not in answer.text and "Traceback" not in answer.text
        return answer.status_code, answer.text

    def study(self, name, version=None):
        """The study once it is read; with a version, once it is another."""
        for _ in range(400):
            found = self.get("/study", study=name)
            if found["state"] == "failed" or (
                found["state"] == "ready" and found["version"] != version
            ):
                return found
            time.sleep(0.05)
        raise AssertionError(f"still {found['state']}")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(live, "PAUSE", 0.0)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A log directory with one study of all factors."""
    logdir = tmp_path_factory.mktemp("logs")
    planted.write(logdir / "study", planted_study.records(), planted_study.SPEC)
    return logdir


@pytest.fixture(scope="module")
def asked(everything):
    found = Asked(everything)
    found.study("study")
    return found


WIDE = dataclasses.replace(planted.SPEC, margin=0.75)  # that three seeds can show


def index(records):
    (own,) = by_part(records).values()
    return own


@pytest.mark.parametrize(
    ("logdir", "name"),
    [
        ("runs", "quickstart"),
        ("runs/quickstart", "quickstart"),
        ("runs/quickstart/tensorboard", "quickstart"),
        ("runs/quickstart/models/unet-0/tensorboard", "quickstart"),
        (".", "runs/quickstart"),
    ],
)
def test_a_study_is_found_from_above_and_from_inside(tmp_path, logdir, name):
    (tmp_path / "runs").mkdir()
    study = planted.write(tmp_path / "runs/quickstart", planted.study())
    (study / "tensorboard").mkdir()
    (study / "models/unet-0/tensorboard").mkdir(parents=True)
    assert discovery.find(tmp_path / logdir) == {name: study}
    assert Asked(tmp_path / logdir).plugin.is_active()


def test_folders_that_are_no_part_of_a_study_do_not_find_it(tmp_path):
    study = planted.write(tmp_path / "study", planted.study())
    (study / "elsewhere").mkdir()
    assert discovery.find(study / "elsewhere") == {}
    assert not Asked(study / "elsewhere").plugin.is_active()
    assert not Asked(tmp_path / "missing").plugin.is_active()


def test_links_to_other_places_are_not_followed(tmp_path):
    study = planted.write(tmp_path / "secret", planted.study())
    logs = tmp_path / "logs"
    (logs / "false").mkdir(parents=True)
    (logs / "folder").symlink_to(study)
    for name in discovery.FILES:
        (logs / "false" / name).symlink_to(study / name)
    assert discovery.find(logs) == {}


def test_a_file_that_became_a_link_is_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("password\n")
    study = planted.write(tmp_path / "study", planted.study())
    asked = Asked(study)
    asked.get("/studies")  # found while it was a file
    (study / "records.jsonl").unlink()
    (study / "records.jsonl").symlink_to(secret)
    found = asked.study("study")
    assert found["state"] == "failed" and "password" not in json.dumps(found)


def test_a_list_of_log_directories_and_remote_ones(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        planted.write(tmp_path / name / "study", planted.study())
    spec = f"one:{tmp_path}/a,{tmp_path}/b,gs://bucket/logs"
    found = Asked("", spec).get("/studies")["studies"]
    assert [one["name"] for one in found] == ["study", "study (2)"]
    assert not Asked("gs://bucket/logs").plugin.is_active()


def test_the_overview_answers_for_every_group(tmp_path):
    planted.write(tmp_path / "study", planted.study())
    found = Asked(tmp_path).study("study")
    (part,) = found["parts"]
    words = {row["group"]: row["word"] for row in part["answers"]}
    assert words == {
        "kernel": "not reusable", "bias": "open", "affine": "open",
        "stats": "not reusable", "all": "not reusable",
    }  # fmt: skip
    assert part["headline"].startswith("Not reusable: kernel, stats, all. Open: bias,")
    verdicts = {one["hypothesis"]: one["verdict"] for one in found["verdicts"]}
    assert (verdicts["H1"], verdicts["H4"]) == ("inconclusive", "inconclusive")
    assert found["progress"]["measured"] == 15


def test_what_is_not_reusable_is_told_with_its_best_repair(tmp_path):
    after = planted.arm((0.6, 0.61, 0.59), group="kernel", repair="recalibration")
    planted.write(tmp_path / "study", planted.study() + after)
    (part,) = Asked(tmp_path).study("study")["parts"]
    row = next(row for row in part["answers"] if row["group"] == "kernel")
    assert row["word"] == "not reusable"
    assert row["why"].startswith("Retains 0.60 [0.18, 0.88] at best")
    drawn = pictured.marks(row["plot"])
    assert [mark.tip[1].split(" 0.")[0] for mark in drawn] == [
        "as transplanted", "after recalibration",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "word", "why"),
    [
        ({"bias_shift": 0.0, "bias_moved": 0.0}, "not testable", "hardly moved"),
        ({"changed": 0}, "not testable", "same values"),
        ({"variables": 0}, "not testable", "no such parameters"),
        ({"before": 0.25}, "not testable", "too little to lose"),
        ({}, "open", "lies on both sides of 0.95, n = 3 seeds"),
    ],
)
def test_an_answer_says_why_there_is_none(tmp_path, changes, word, why):
    records = planted.arm((1.0, 0.99, 1.0), group="bias", **changes)
    planted.write(tmp_path / "study", records)
    (part,) = Asked(tmp_path).study("study")["parts"]
    row = next(row for row in part["answers"] if row["group"] == "bias")
    assert row["word"] == word and why in row["why"]


def test_reuse_that_proves_nothing_is_no_reuse(tmp_path):
    records = planted.arm((1.0, 0.99, 1.0), group="bias")
    records += planted.arm((0.99, 0.99, 1.0), group="bias", control="reinitialised")
    planted.write(tmp_path / "study", records)
    (part,) = Asked(tmp_path).study("study")["parts"]
    assert part["headline"] == "Open: kernel, affine, stats, all. Not testable: bias."


@pytest.mark.parametrize(
    ("fresh", "word", "why"),
    [
        ((0.5, 0.6, 0.4), "reusable", "all of it at least 0.25"),
        ((0.9, 1.0, 0.6), "open", "n = 3 seeds do not show that re-initialising"),
    ],
)
def test_what_few_seeds_do_not_show_is_open(tmp_path, fresh, word, why):
    records = planted.arm((1.0, 0.99, 1.0), group="bias")
    records += planted.arm(fresh, group="bias", control="reinitialised")
    planted.write(tmp_path / "study", records, WIDE)
    (part,) = Asked(tmp_path).study("study")["parts"]
    row = next(row for row in part["answers"] if row["group"] == "bias")
    assert row["word"] == word and why in row["why"]


def test_one_seed_is_open(tmp_path):
    records = planted.arm((0.1,), group="stats")
    records += planted.arm((0.0,), group="stats", control="reinitialised")
    planted.write(tmp_path / "study", records)
    (part,) = Asked(tmp_path).study("study")["parts"]
    row = next(row for row in part["answers"] if row["group"] == "stats")
    assert (row["word"], row["why"]) == ("open", "One seed of 3 settles nothing.")


def test_an_open_answer_names_the_repair_that_it_is_open_after(tmp_path):
    records = planted.arm((0.5, 0.6, 0.5), group="affine")
    records += planted.arm((0.8, 1.0, 1.0), group="affine", repair="recalibration")
    planted.write(tmp_path / "study", records)
    (part,) = Asked(tmp_path).study("study")["parts"]
    row = next(row for row in part["answers"] if row["group"] == "affine")
    assert row["word"] == "open after repair"
    assert (
        "Not reusable as transplanted, open after repair: affine." in part["headline"]
    )
    assert row["why"].startswith("Not reusable as transplanted (0.53 [")
    assert "open after recalibration: there the interval lies on both" in row["why"]


def test_a_group_that_a_repair_mends_is_told_so(tmp_path):
    records = []
    for group in ("stats", "affine"):  # of the donor's statistics nothing is left
        records += planted.arm((0.1, 0.2, 0.1), group=group)
        records += planted.arm((0.99, 1.0, 1.0), group=group, repair="recalibration")
    planted.write(tmp_path / "study", records, WIDE)
    (part,) = Asked(tmp_path).study("study")["parts"]
    told = "Reusable once repaired: affine. Replaceable: stats."
    assert part["headline"].startswith(told)


def cells(answer):
    """The marks of the drawing in an answer."""
    (drawing,) = answer["drawings"]
    return pictured.cells(drawing)


def test_the_heat_map_has_the_rows_of_the_report(asked):
    found = cells(asked.get("/heat", study="study", **PART, kind="stage"))
    own = {
        arm: seeds
        for arm, seeds in index(planted_study.records()).items()
        if arm.site_kind == "stage"
    }
    rows = tables.heat_rows(own, "stage", planted_study.SPEC)
    rows = {(r["site"], r["group"]): r for r in rows if r["repair"] == "none"}
    assert set(found) == set(rows) and len(rows) == 7 * 6
    for place, mark in found.items():
        assert mark.texts == [heat.cell_text(rows[place]["mean"])]
        assert mark.tip[1] == f"retention {marks.words(rows[place])}, n = 3"
        assert re.search(r"shown to retain .*less.* \(q = \S+\)", mark.tip[2])
        assert mark.has("circle") == (rows[place]["identifiable"] is False)
    assert list(dict.fromkeys(site for site, _ in found)) == list(
        planted_study.STAGES["unet"]
    )


def test_layers_stand_beside_their_stage(asked):
    (drawing,) = asked.get("/heat", study="study", **PART, kind="layer")["drawings"]
    assert next(iter(pictured.cells(drawing))) == ("encoder_1_a_conv", "kernel")
    short = [text for text in pictured.texts(drawing) if text.endswith("…")]
    assert short[0].startswith("enco") and short[3].startswith("bott")


def test_drop_index_and_single_seeds_are_worked_by_hand(tmp_path):
    site = {"site_kind": "stage", "site": "encoder_1", "depth": 0, "group": "kernel"}
    records = planted.arm((0.9, 0.8, 1.0), **site)
    records += planted.arm((0.4, 0.5, 0.6), control="reinitialised", **site)
    planted.write(tmp_path / "study", records)
    asked = Asked(tmp_path)
    asked.study("study")

    def told(**more):
        found = asked.get("/heat", study="study", **PART, kind="stage", **more)
        return cells(found)["encoder_1", "kernel"].tip[1:]

    assert told()[0].startswith("retention 0.90 [0.26, 0.99], n = 3")
    assert told(quantity="drop")[0].startswith("drop 0.06 [")  # 0.6 times 0.1
    # (0.5 + 0.3 + 0.4) / (0.6 + 0.5 + 0.4), all times 0.6
    assert told(quantity="index")[0].startswith("reusability index 0.80 [")
    assert told(quantity="index", seed=1)[0] == "reusability index 0.60, n = 1"
    # the test against 1 - margin is of retention
    assert "not shown to retain 0.95, nor to retain less" in told()[1]
    assert len(told(quantity="drop")) == len(told(quantity="index")) == 1
    found = asked.get("/heat", study="study", **PART, kind="stage", quantity="drop")
    assert not cells(found)["encoder_1", "kernel"].has("path", "hatch")
    assert told(seed=1) == ["retention 0.80, n = 1"]
    assert told(seed=9)[0] == "retention –, n = 0"


def test_an_index_without_a_shown_cost_is_none(tmp_path):
    site = {"site_kind": "stage", "site": "encoder_1", "depth": 0, "group": "kernel"}
    records = planted.arm((0.9, 0.8, 1.0), **site)
    records += planted.arm((0.99, 1.0, 1.0), control="reinitialised", **site)
    planted.write(tmp_path / "study", records)
    asked = Asked(tmp_path)
    asked.study("study")
    found = asked.get("/heat", study="study", **PART, kind="stage", quantity="index")
    (mark,) = cells(found).values()
    assert mark.texts == ["–"] and mark.tip[-1].startswith("not identifiable")
    told = "The index needs the control reinitialised at single stages."
    assert found["hint"] == told


def test_cells_that_were_not_measured_are_said(asked):
    found = asked.get("/heat", study="study", **PART, kind="stage", repair="stitch")
    assert found["drawings"] or "No such cells" in found["hint"]
    found = asked.get("/heat", study="study", **PART, kind="prefix", seed=0)
    assert found["drawings"] or "No such cells" in found["hint"]


def test_a_cell_tells_seeds_arms_and_what_repeats_it(asked):
    found = asked.get(
        "/cell", study="study", **PART, kind="stage", site="encoder_1", group="kernel"
    )
    assert [one["seed"] for one in found["seeds"]] == [0, 1, 2]
    arms_ = pictured.marks(found["drawings"][0])
    assert found["n"] == 3
    assert (arms_[0].data["control"], arms_[0].data["repair"]) == ("transfer", "none")
    assert [line.split(":")[0] for line in arms_[0].tip[2:]] == [
        "seed 0", "seed 1", "seed 2",
    ]  # fmt: skip
    assert {mark.data["control"] for mark in arms_} >= {"matched", "reinitialised"}
    again, make = (one["text"] for one in found["commands"])
    assert "--groups=kernel" in again and "--sites=stage" in again
    assert "--roles=kernel" in make and "encoder_1_*" in make


def test_hostile_names_are_data_and_quoted_for_a_shell(tmp_path):
    site = {"site_kind": "layer", "site": HOSTILE, "depth": 0, "group": "kernel"}
    planted.write(tmp_path / "study", planted.arm((0.5, 0.6, 0.4), **site))
    asked = Asked(tmp_path)
    asked.study("study")
    answer = asked.raw("/heat", study="study", **PART, kind="layer")
    assert answer.content_type == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert {site for site, _ in cells(json.loads(answer.text))} == {HOSTILE}
    found = asked.get(
        "/cell", study="study", **PART, kind="layer", site=HOSTILE, group="kernel"
    )
    made = subprocess.run(
        ["sh", "-c", "set -- " + found["commands"][1]["text"] + '; printf "%s\n" "$@"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"--layers={HOSTILE}" in made.stdout.splitlines()


def test_the_network_is_drawn_from_input_to_output(asked):
    found = asked.get("/network", study="study", **PART, quantity="drop", seed=1)
    (drawing,) = found["drawings"]
    stages = pictured.cells(drawing, "stage")
    sites = dict.fromkeys(site for site, _ in stages)
    assert list(sites) == list(planted_study.STAGES["unet"])
    assert stages["encoder_1", "kernel"].tip[1].startswith("drop ")
    layers = [site for site, _ in pictured.cells(drawing, "layer")]
    assert {"encoder_1_a_conv", "encoder_1_a_bn"} <= set(layers)


@pytest.mark.parametrize("name", ["reasons", "ladder", "shapley", "ages"])
def test_panels_have_rows_or_say_what_to_run(asked, tmp_path, name):
    found = asked.get(f"/{name}", study="study", **PART)
    assert found["drawings"] and found["caption"] and not found["hint"]
    planted.write(tmp_path / "study", planted.study())
    other = Asked(tmp_path)
    other.study("study")
    found = other.get(f"/{name}", study="study", **PART)
    assert not found["drawings"] and "--" in found["hint"]


def test_pictures_of_all_layers_are_shown_where_a_study_keeps_them(asked, tmp_path):
    own = {"kind": "all", "site": "all", "group": "kernel"}
    assert asked.get("/cell", study="study", **PART, **own)["pictures"] is False
    assert asked.refused("/picture", study="study", **PART, group="kernel")[0] == 404
    study = planted.write(tmp_path / "study", planted.study())
    part = Part(**PART)
    arrays.write(study, part, planted_study.arrays())
    other = Asked(tmp_path)
    other.study("study")
    assert other.get("/cell", study="study", **PART, **own)["pictures"] is True
    answer = other.raw("/picture", study="study", **PART, group="stats")
    assert answer.content_type == "image/png"
    shown = np.array(Image.open(io.BytesIO(answer.data)))
    scale, high, wide = 6, 25 * 6, 33 * 6
    assert shown.shape == (4 * high, 5 * wide, 3)
    held = planted_study.arrays()
    after = shown[high * 2 : high * 3 - 6 : scale, wide * 3 : wide * 4 - 6 : scale]
    assert (after == held["after"][2, 1]).all()  # stats, second image
    error = shown[high * 3 : high * 4 - 6 : scale, wide * 4 : wide * 5 - 6 : scale, 0]
    assert (error == held["recalibrated_error"][2, 1]).all()


@pytest.mark.parametrize("way", ["link", "garbage", "shape", "bomb"])
def test_pictures_that_are_none_are_not_shown(tmp_path, way, monkeypatch):
    study = planted.write(tmp_path / "study", planted.study())
    part = Part(**PART)
    held = planted_study.arrays()
    if way == "shape":
        held["after"] = held["after"][..., 0]
    arrays.write(study, part, held)
    path = arrays.path(study, part)
    if way == "link":
        path.rename(tmp_path / "elsewhere.npz")
        path.symlink_to(tmp_path / "elsewhere.npz")
    if way == "garbage":
        path.write_bytes(b"garbage")
    if way == "bomb":
        monkeypatch.setattr(pictures, "LARGEST", 1_000)
    asked = Asked(tmp_path)
    asked.study("study")
    assert asked.refused("/picture", study="study", **PART, group="kernel")[0] == 404


@pytest.mark.parametrize(
    "name", ["", "nothing", "../study", "study/../study", "/etc", ".", "%2e%2e", "a\0b"]
)
def test_only_studies_that_were_found_can_be_asked(asked, name):
    for route in ("/study", "/heat", "/cell", "/network", "/reasons"):
        status, told = asked.refused(route, study=name)
        assert status == 404 and "there are: study" in told


@pytest.mark.parametrize(
    ("route", "changes", "status"),
    [
        ("/heat", {"architecture": "../unet"}, 404),
        ("/heat", {"kind": "galaxy"}, 400),
        ("/heat", {"quantity": "__class__"}, 400),
        ("/heat", {"repair": "prayer"}, 400),
        ("/heat", {"seed": "1e9"}, 400),
        ("/heat", {"seed": "9" * 400}, 400),
        ("/network", {"link": "soul"}, 404),
        ("/cell", {"kind": "stage", "site": "nowhere", "group": "kernel"}, 404),
        ("/cell", {"kind": "stage", "site": "x" * 5_000, "group": "kernel"}, 400),
    ],
)
def test_bad_questions_get_one_line(asked, route, changes, status):
    assert asked.refused(route, **{"study": "study", **PART, **changes})[0] == status


def test_nothing_can_be_written(asked):
    for route in asked.apps:
        if not route.endswith((".js", ".css")):
            assert asked.raw(route, method="POST").status_code == 405


def test_the_page_is_served_file_by_file(asked):
    metadata = asked.plugin.frontend_metadata()
    assert metadata.es_module_path in asked.apps
    assert metadata.tab_name == "Reusability"
    assert not [route for route in asked.apps if "*" in route or route.count("/") > 1]
    answer = asked.raw("/index.js")
    assert answer.content_type.startswith("text/javascript")
    assert "render" in answer.text


def test_the_page_makes_no_markup_of_data():
    for path in bundle.FOLDER.glob("*.js"):
        text = path.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
        ):
            assert word not in text, f"{path.name}: {word}"
        assert "http" not in text.replace("http://www.w3.org/", ""), path.name


def test_a_growing_study_is_followed_and_its_half_line_awaited(tmp_path):
    records = planted.study()
    planted.write(tmp_path / "study", records[:5])
    asked = Asked(tmp_path)
    found = asked.study("study")
    assert found["progress"]["measured"] == 5
    line = records[5].to_line()
    with open(tmp_path / "study/records.jsonl", "a") as file:
        file.write(line[:100])
        file.flush()
        found = asked.study("study", found["version"])
        assert found["progress"]["measured"] == 5
        assert not [one for one in found["warnings"] if "Line" in one]
        file.write(line[100:])
    found = asked.study("study", found["version"])
    assert found["progress"]["measured"] == 6


def test_what_was_read_is_not_read_again(tmp_path, monkeypatch):
    records = planted.study()
    planted.write(tmp_path / "study", records[:14])
    growing = follower.Follower(tmp_path / "study/records.jsonl")
    growing.update()
    read = []
    monkeypatch.setattr(growing, "_add", read.append)
    with open(growing.path, "a") as file:
        file.write(records[14].to_line())
    growing.update()
    assert read == [records[14].to_line().encode()]


def test_a_replaced_file_is_read_anew(tmp_path):
    study = planted.write(tmp_path / "study", planted.study())
    growing = follower.Follower(study / "records.jsonl")
    growing.update()
    other = planted.arm((0.5,) * 30, group="kernel")
    planted.write(study, other)
    growing.update()
    assert growing.records == other
    planted.write(study, other[:1])  # cut off, as a power cut's loss is
    growing.update()
    assert growing.records == other[:1]


def test_broken_lines_are_told_and_the_rest_is_shown(tmp_path):
    records = planted.study()
    study = planted.write(tmp_path / "study", records)
    foreign = dataclasses.replace(records[0], repair="prayer", seed=7)
    endless = (
        records[1].to_line().replace(f'"after": {records[1].after}', '"after": NaN')
    )
    with open(study / "records.jsonl", "a") as file:
        file.write("{}\n" + "[" * 100_000 + "\n" + foreign.to_line() + endless)
        file.write(records[0].to_line())  # twice
    found = Asked(tmp_path).study("study")
    assert found["progress"]["measured"] == len(records)
    told = " ".join(found["warnings"])
    assert "Line 16 of records.jsonl is no record: it lacks 'per_image'" in told
    assert "prayer" in told and "1 more lines" in told
    assert "1 records are of arms that have a record already" in told


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"specs": {"study": {"seeds": "x"}}}']
)
def test_a_broken_study_json_is_told_and_mended(tmp_path, text):
    study = planted.write(tmp_path / "study", planted.study())
    whole = (study / "study.json").read_text()
    (study / "study.json").write_text(text)
    asked = Asked(tmp_path)
    found = asked.study("study")
    assert found["state"] == "failed" and found["failure"]
    assert asked.refused("/heat", study="study", **PART)[0] == 503
    (study / "study.json").write_text(whole)
    for _ in range(100):
        found = asked.study("study")
        if found["state"] == "ready":
            break
        time.sleep(0.05)
    assert found["progress"]["measured"] == 15


def test_a_study_without_records_says_so(tmp_path):
    planted.write(tmp_path / "study", [])
    found = Asked(tmp_path).study("study")
    assert found["parts"] == [] and "No arm has been measured yet." in found["warnings"]


def test_progress_counts_whole_blocks(tmp_path):
    records = planted.study()  # 3 seeds of 5 arms
    planted.write(tmp_path / "study", records[:12], measured={"a-0": 5, "a-1": 5})
    progress = Asked(tmp_path).study("study")["progress"]
    assert (progress["blocks"], progress["finished"]) == (3, 2)
    assert (progress["planned"], progress["complete"]) == (15, False)
    os.utime(tmp_path / "study/records.jsonl", (0, 0))
    assert Asked(tmp_path).study("study")["progress"]["last_record"] > 1e9
    planted.write(tmp_path / "study", records, networks={"a": {}})
    progress = Asked(tmp_path).study("study")["progress"]
    assert progress["complete"] and progress["finished"] == 3


def test_the_entry_point_is_told_to_tensorboard():
    code = (
        "import sys, importlib.metadata as m\n"
        "(one,) = m.entry_points(group='tensorboard_plugins', name='reusability')\n"
        "assert one.load().plugin_name == 'reusability'\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The report answers until the study is read


@pytest.fixture(scope="module")
def with_report(tmp_path_factory):
    logdir = tmp_path_factory.mktemp("reported")
    planted.write(logdir / "study", planted_study.records(), planted_study.SPEC)
    report.write(logdir / "study")
    return logdir


@pytest.fixture
def reported(with_report, tmp_path, monkeypatch):
    """A study with its report, and a server that never gets to read its records."""
    shutil.copytree(with_report, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(live.LiveStudy, "_read", lambda self, version: None)
    return tmp_path


def test_a_new_server_answers_from_the_report_at_once(reported, everything):
    first = Asked(reported)
    told = first.get("/study", study="study")
    assert told["state"] == "ready" and told["name"] == "study"
    part = Part(**PART)
    whole = Snapshot(source.load(everything / "study"))
    asked = {"study": "study", **PART, "kind": "stage", "quantity": "retention"}
    found = first.get("/heat", **asked, repair="none", seed="-1")
    assert found == json.loads(
        to_text(maps.heat(whole, part, "stage", "retention", "none", -1))
    )
    del asked["kind"]
    assert first.get("/network", **asked, repair="none", seed="-1")["drawings"]


def test_the_version_stays_when_the_server_has_read_the_study(reported, monkeypatch):
    told = Asked(reported).get("/study", study="study")["version"]
    monkeypatch.undo()
    later = Asked(reported)
    assert later.get("/study", study="study")["version"] == told
    one = later.plugin._requested({"study": "study"})[1]
    while one.latest() is None:
        time.sleep(0.02)
    assert later.get("/study", study="study")["version"] == told


def test_a_report_of_older_records_answers_nothing(reported):
    with open(reported / "study" / "records.jsonl", "ab") as file:
        file.write(b"\n")
    assert Asked(reported).get("/study", study="study")["state"] == "reading"


def page_of(answers: bytes) -> bytes:
    # A fixed time: both workers of a test run must collect the same parameters.
    packed = base64.b64encode(gzip.compress(answers, mtime=0))
    return embedded.HEAD.encode() + packed + embedded.TAIL.encode()


@pytest.mark.parametrize(
    "page",
    [
        b"",
        f"{embedded.HEAD}%%%{embedded.TAIL}".encode(),
        page_of(b"[" * 100_000),
        page_of(b"[1]"),
        page_of(b'{"heat": {"drawings": [["<a/>", [1, 9]], [7]]}}'),
    ],
    ids=["empty", "no base64", "nested too deep", "no object", "no drawing"],
)
def test_a_page_that_is_no_report_answers_nothing(reported, page):
    (reported / "study" / "report.html").write_bytes(page)
    assert Asked(reported).get("/study", study="study")["state"] == "reading"


def test_a_report_of_another_packing_answers_nothing(reported):
    page = reported / "study" / "report.html"
    now = page.read_bytes()
    assert embedded.unpack(now)
    page.write_bytes(now.replace(b'data-packing="2"', b'data-packing="1"'))
    assert Asked(reported).get("/study", study="study")["state"] == "reading"


def test_answers_that_unpack_to_more_than_a_page_has_are_left(monkeypatch):
    snapshot = {"left out": "x" * 1000}
    packed = embedded.pack(snapshot, [], 10_000)
    page = f"{embedded.HEAD}{packed}{embedded.TAIL}".encode()
    assert embedded.unpack(page) == snapshot
    monkeypatch.setattr(embedded, "_LONGEST", 500)
    assert embedded.unpack(page) == {}


def test_stages_of_foreign_layers_come_from_the_study(tmp_path):
    planted.write(tmp_path / "study", planted_study.records(), planted_study.SPEC)
    path = tmp_path / "study" / "study.json"
    for told, expected in (
        ({"unet": {"encoder_1_a_conv": "bottleneck"}}, "bottleneck"),
        ({"unet": [1]}, "encoder_1"),
        ([], "encoder_1"),
        ({"unet": {"encoder_1_a_conv": 3}}, "encoder_1"),
    ):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"stages": told}))
        asked = Asked(tmp_path)
        asked.study("study")
        (drawing,) = asked.get("/network", study="study", **PART)["drawings"]
        nodes = [mark.data["site"] for mark in pictured.marks(drawing)]
        before = nodes[: nodes.index("encoder_1_a_conv")]
        stages = [site for site in before if site in planted_study.STAGES["unet"]]
        assert stages[-1] == expected
