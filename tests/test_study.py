"""The study end to end: a tiny one, run whole, and run with kills in between."""

import collections
import os
import shutil
import signal
import subprocess
import sys
import time

import commands
import numpy as np
import pytest

from tfreuse import (
    files,
    records,
    roles,
    study,
)
from tfreuse.analysis import shapley
from tfreuse.analysis.arms import by_part
from tfreuse.errors import InputError
from tfreuse.specs import DIRECTIONS, DataSpec, ModelSpec, StudySpec, TrainSpec

TO_MASKS, TO_IMAGES = DIRECTIONS

FLAGS = [
    "--dataset=folder", "--image_size=16,16", "--width=4", "--depth=1", "--steps=120",
    "--learning_rate=0.01", "--validations=2", "--batch_size=4", "--seeds=2", "--jobs=2",
    "--calibration_examples=32", "--shapley", "--draws=2",
    "--controls=self,other_seed,reinitialised,defaults,matched,reordered",
    "--repairs=none,recalibration,permutation",
]  # fmt: skip


def flags(scenes, out_dir):
    return [*FLAGS, f"--data_dir={scenes}", f"--out_dir={out_dir}"]


def command(scenes, out_dir, *more):
    return [sys.executable, "-m", "tfreuse.cli.study", *flags(scenes, out_dir), *more]


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    """The directory of a study that ran without a stop, and its output."""
    out_dir = tmp_path_factory.mktemp("finished")
    done = commands.run("study", *flags(scenes, out_dir))
    assert done.returncode == 0, done.stderr
    return out_dir, done


@pytest.fixture(scope="module")
def measured(finished):
    return records.read(finished[0] / "records.jsonl")


def by(measured, **fields):
    return [
        record
        for record in measured
        if all(getattr(record, name) == value for name, value in fields.items())
    ]


@pytest.mark.slow
def test_a_study_leaves_all_that_it_promises(finished):
    out_dir, done = finished
    for name in (
        "records.jsonl", "verdicts.json", "report.html", "report.md", "config.flags",
        "models/segmentation-0/model.keras", "models/transplanted/model.keras",
        "savedmodel/1/saved_model.pb", "models/transplanted/tensorboard",
    ):  # fmt: skip
        assert (out_dir / name).exists(), name
    assert list((out_dir / "figures").glob("*.png"))
    for hypothesis in ("H1", "H2", "H3", "H4"):
        assert done.stdout.count(f"  {hypothesis}  ") == 2  # one a direction
    assert "Traceback" not in done.stderr


def test_every_arm_is_there_once_for_every_seed_and_direction(measured):
    assert max(collections.Counter(record.key for record in measured).values()) == 1
    blocks = collections.Counter((record.direction, record.seed) for record in measured)
    assert len(blocks) == 4
    assert len(set(blocks.values())) == 1


def test_layers_stages_and_all_layers_are_covered(measured):
    sites = {(record.site_kind, record.site) for record in measured}
    assert ("all", "all") in sites
    assert {site for kind, site in sites if kind == "stage"} == {
        "encoder_1", "bottleneck", "decoder_1",
    }  # fmt: skip
    assert {"encoder_1_a_conv", "decoder_1_up_conv"} <= {s for _, s in sites}
    assert not any("head" in site for _, site in sites)


def test_a_self_transplant_changes_nothing_bit_for_bit(measured):
    copies = by(measured, control="self")
    assert copies
    for record in copies:
        assert record.changed == 0
        assert record.after == record.before
    assert {record.retention for record in copies if record.before > record.floor} == {
        1.0
    }


def test_statistics_are_repaired_exactly_by_recalibration_whatever_their_donor(
    measured,
):
    repaired = by(measured, group="stats", repair="recalibration")
    assert {"transfer", "other_seed", "reinitialised", "defaults", "matched"} <= {
        record.control for record in repaired
    }
    assert all(record.after == record.before for record in repaired)
    assert any(record.after != record.before for record in by(measured, group="stats"))


def test_a_permuted_copy_fails_as_it_is_and_is_exact_once_its_channels_are_aligned(
    measured,
):
    raw = by(measured, control="reordered", repair="none", group="kernel")
    aligned = by(measured, control="reordered", repair="permutation")
    assert {record.site_kind for record in raw} == {"all", "stage"}
    assert any(record.retention < 0.9 for record in raw)
    assert {record.group for record in aligned} >= {"kernel", "affine", "stats", "all"}
    for record in aligned:
        assert record.changed == 0
        assert record.after == record.before


def test_random_values_at_the_donors_distance_are_as_far_and_differ_from_draw_to_draw(
    measured,
):
    plain = {"group": "kernel", "site_kind": "all", "repair": "none"}
    (donor,) = by(measured, control="transfer", seed=0, direction=TO_MASKS, **plain)
    drawn = by(measured, control="matched", seed=0, direction=TO_MASKS, **plain)
    assert [record.draw for record in drawn] == [0, 1]
    for record in drawn:
        assert record.relative_distance == pytest.approx(
            donor.relative_distance, rel=1e-4
        )
    assert drawn[0].after != drawn[1].after


def test_all_unions_of_five_roles_are_there_and_shapley_values_sum_to_the_loss(
    measured,
):
    parts = by_part(measured)
    spec = StudySpec(seeds=2, shapley=True)
    for arms in parts.values():
        rows = [row for row in shapley.rows(arms, spec) if row["site_kind"] == "all"]
        values = [row["mean"] for row in rows if row["quantity"] == "value"]
        (total,) = (row["mean"] for row in rows if row["quantity"] == "total")
        assert len(values) == 5
        assert sum(values) == pytest.approx(total)


def test_counts_of_every_image_add_up_to_the_records_counts(finished, measured):
    with records.CountsReader(finished[0] / "records.jsonl") as counts:
        for record in measured[::97]:
            per_image = counts.read(record)
            assert len(per_image) == record.images
            if record.metric == "mean_iou":
                total = np.array(record.counts["confusion_matrix"])
                assert np.array_equal(per_image.sum(axis=0), total)


def test_the_arrays_of_a_reports_pictures_are_kept(finished):
    names = sorted(path.stem for path in (finished[0] / "figures_data").iterdir())
    assert names == [f"unet_{TO_MASKS}", f"unet_{TO_IMAGES}"]


def test_all_parameters_of_the_same_task_with_the_donors_statistics_need_no_repair(
    measured,
):
    raw = by(
        measured, control="other_seed", group="all", site_kind="all", repair="none"
    )
    fixed = by(
        measured,
        control="other_seed",
        group="all",
        site_kind="all",
        repair="recalibration",
    )
    for transplanted, recalibrated in zip(raw, fixed, strict=True):
        assert transplanted.after == pytest.approx(recalibrated.after, abs=1e-3)


def test_the_metric_can_be_computed_again_from_the_counts_of_the_record(measured):
    from tfreuse.analysis import metrics

    for record in measured[:50]:
        if record.metric == "mean_iou":
            confusion = np.array(record.counts["confusion_matrix"])
            assert metrics.mean_iou(confusion) == record.after
            assert confusion.sum() == record.images * 16 * 16


def test_parameters_moved_are_counted_by_role(measured):
    """Width 4, depth 1, 3 channels: three stages of two convolutions, and one up-convolution."""
    kernels = 9 * (3 * 4 + 4 * 4 + 4 * 8 + 8 * 8 + 8 * 4 + 4 * 4) + 4 * 8 * 4
    everywhere = {"site_kind": "all", "control": "transfer", "repair": "none"}
    for record in by(measured, group="kernel", **everywhere):
        assert (record.variables, record.parameters) == (7, kernels)
    for record in by(measured, group="stats", **everywhere):
        assert (record.variables, record.parameters) == (12, 2 * (4 * 4 + 2 * 8))


def test_every_arm_is_a_row_in_tensorboards_hparams_view(finished, measured):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log_dir = finished[0] / "tensorboard" / "arms"
    rows = [path for path in log_dir.iterdir() if path.is_dir()]
    assert len(rows) == len(measured)
    trained = {
        r.recipient for r in measured if r.before > r.floor
    }  # others retain nothing
    row = next(row for row in rows if any(name in row.name for name in trained))
    events = EventAccumulator(str(row))
    events.Reload()
    assert {"retention", "drop", "after"} <= set(events.Tags()["scalars"])
    afters = [record.after for record in measured if record.recipient in row.name]
    assert np.isclose(afters, events.Scalars("after")[0].value).any()
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    assert plugin.plugin_name == "hparams"


def test_running_again_does_nothing_again(finished, scenes):
    out_dir, _ = finished
    before = (out_dir / "records.jsonl").read_bytes()
    model = (out_dir / "models" / "segmentation-0" / "model.keras").stat().st_mtime_ns
    done = commands.run("study", *flags(scenes, out_dir))
    assert done.returncode == 0, done.stderr
    assert (out_dir / "records.jsonl").read_bytes() == before
    path = out_dir / "models" / "segmentation-0" / "model.keras"
    assert path.stat().st_mtime_ns == model


@pytest.mark.slow
def test_a_study_that_is_killed_goes_on_and_gives_the_same_records(
    finished, measured, scenes, tmp_path
):
    """kill -9 in the training, then among the arms; nothing is lost, nothing done twice."""
    direction = "autoencoder-to-segmentation"  # one of the two: half the time
    # and a part of the arms: less time
    lean = [
        "--controls=self,defaults", "--repairs=none,recalibration", "--noshapley",
        "--sites=stage,all",
    ]  # fmt: skip
    more = [f"--directions={direction}", *lean]
    for name, ready in (("models", "autoencoder-*"), ("units", "train-autoencoder-*")):
        for path in (finished[0] / name).glob(ready):  # the others are to be trained
            shutil.copytree(path, tmp_path / name / path.name)

    def kill_when(condition):
        process = subprocess.Popen(
            command(scenes, tmp_path, *more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while not condition() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(300):  # its workers notice that it is gone
            if not alive_in_group(process.pid):
                return
            time.sleep(0.1)
        pytest.fail("workers outlive the study")

    kill_when((tmp_path / "models" / "segmentation-0" / "last.keras").exists)
    assert records.read(tmp_path / "records.jsonl") == []
    path = tmp_path / "records.jsonl"
    kill_when(lambda: path.read_bytes().count(b"\n") >= 5)
    survivors = records.read(path)
    assert len(survivors) >= 5
    done = commands.run("study", *flags(scenes, tmp_path), *more)
    assert done.returncode == 0, done.stderr
    again = records.read(path)
    assert again[: len(survivors)] == survivors and len(again) > len(survivors)
    keys = {record.key for record in again}
    assert len(keys) == len(again) > 100
    measured = [record for record in measured if record.key in keys]

    def facts(record):
        return record.key, record.before, record.after, record.rmse

    assert sorted(map(facts, again)) == sorted(map(facts, measured))


def alive_in_group(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_directory_of_another_study_is_refused_with_the_field(finished, scenes):
    out_dir, _ = finished
    done = commands.run("study", *flags(scenes, out_dir), "--margin=0.2")
    assert done.returncode == 1
    assert "--margin was 0.05, now 0.2" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_transplanted_model_holds_what_was_found_reusable(finished):
    notes = files.read_json(finished[0] / "models" / "transplanted" / "metrics.json")
    assert "stats" in notes["groups"]  # exact after recalibration, whatever the donor
    assert "kernel" not in notes["groups"]
    assert notes["after"] >= 0.9 * notes["before"]


def test_every_group_that_is_named_must_exist():
    with pytest.raises(InputError, match="nearest"):
        study.Specs(StudySpec(groups=("kernal",)), DataSpec(), ModelSpec(), TrainSpec())


def test_roles_of_the_default_groups_are_known():
    for group in StudySpec().groups:
        assert roles.expand(group)
