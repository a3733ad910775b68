"""Donors at several ages: planted curves, and networks whose retention at an age is known."""

import dataclasses
import json
import shutil

import commands
import pictured
import planted
import pytest
from measured import records_of

from tfreuse import files, records, report, specs, study
from tfreuse.analysis import ages, verdicts
from tfreuse.analysis.arms import by_part
from tfreuse.report import drawings, figures, source, tensorboard
from tfreuse.specs import DataSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.study import (
    cost,
    outcome,
    recipient,
    retrials,
    treatments,
    workspace,
)

SPEC = dataclasses.replace(planted.SPEC, seeds=6, donor_updates=(0, 10, 30, 100, 300))
# Nothing is shared before 100 updates, and everything from then on.
CURVE = {0: 0.0, 10: 0.0, 30: 0.0, 100: 1.0, 300: 1.0}


def curve(group="kernel", finished=1.0, noise=planted.NOISE):
    """Records of CURVE: six seeds, all layers, as transplanted."""
    written = planted.arm(finished + noise, group=group)
    for updates, retained in CURVE.items():
        written += planted.arm(retained + noise, group=group, updates=updates)
    return written


def rows_of(written, spec=SPEC):
    by_age = {}
    for updates in spec.donor_updates:
        (by_age[updates],) = by_part(written, updates).values()
    return ages.rows(by_age, planted.only_part(written), 1000, spec)


def test_the_planted_age_at_which_reuse_appears_comes_back():
    rows = rows_of(curve(noise=0 * planted.NOISE))
    retained = {r["updates"]: r for r in rows if r["quantity"] == "age"}
    assert {age: row["mean"] for age, row in retained.items()} == CURVE | {1000: 1.0}
    assert [age for age, row in retained.items() if row["finished"]] == [1000]
    # of six equal values at a bound: Clopper and Pearson's ends
    for age, row in retained.items():
        far = 1 - 0.025 ** (1 / 6)
        ends = (0, far) if CURVE.get(age) == 0 else (1 - far, 1)
        assert (row["low"], row["high"]) == pytest.approx(ends)
        assert row["n"] == 6
    gained = {r["updates"]: r["mean"] for r in rows if r["quantity"] == "difference"}
    assert gained == {0: -1, 10: -1, 30: -1, 100: 0, 300: 0}


def test_the_curve_is_drawn_on_a_logarithmic_axis_that_begins_at_zero_updates():
    rows = rows_of(curve(noise=0 * planted.NOISE))
    drawing, legend = figures.draw("ages", rows, drawings.Subject(None, {}, SPEC))
    marks = pictured.marks(drawing)
    assert [int(mark.data["updates"]) for mark in marks] == [*CURVE, 1000]
    (line,) = (
        node for node in pictured.root(drawing).iter("polyline")
        if node.get("class") == "curve"
    )  # fmt: skip
    points = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
    x, y = zip(*points, strict=True)
    assert x[2] - x[1] == pytest.approx(x[4] - x[3], abs=0.02)  # 10 to 30, 100 to 300
    assert x[3] - x[1] == pytest.approx(x[5] - x[3], abs=0.02)  # 10, 100, 1,000
    assert x[0] < x[1] and y[0] == y[1] == y[2] > y[3] == y[4] == y[5]
    assert {"0", "10", "100", "1,000"} <= set(pictured.texts(drawing))
    assert marks[0].tip[1] == "retains 0.00 [0.00, 0.46], n = 6"
    assert marks[-1].tip[0] == "kernel, finished donor, as transplanted"
    assert pictured.texts(legend) == [
        "all layers, as transplanted",
        "finished donor (best validation)",
    ]


def test_a_difference_is_of_the_seeds_that_both_ages_have():
    written = [r for r in curve() if (r.seed, r.updates) != (2, None)]
    rows = [r for r in rows_of(written) if r["updates"] == 300]
    assert {r["quantity"]: r["n"] for r in rows} == {"age": 6, "difference": 5}


def test_nothing_else_of_a_study_depends_on_other_ages(tmp_path):
    finished = planted.study() + planted.arm((0.9,) * 3, control="self", group="all")
    spec = dataclasses.replace(SPEC, seeds=3)
    aged = [
        dataclasses.replace(record, updates=updates, after=record.floor)
        for record in finished
        for updates in spec.donor_updates
        if record.control == "transfer"
    ]
    assert verdicts.judge(finished + aged, spec) == verdicts.judge(finished, spec)
    bare = dataclasses.replace(spec, donor_updates=())
    design = study.Specs(spec, DataSpec(), ModelSpec(), TrainSpec())
    repaired = [dataclasses.replace(r, repair="recalibration") for r in finished + aged]
    assert outcome.reusable(repaired, design) == outcome.reusable(
        [r for r in repaired if r.updates is None], design
    )
    tensorboard.write_arms(tmp_path / "arms", finished + aged)
    assert len(list((tmp_path / "arms").glob("*/*.arm"))) == len(finished)
    study_dir = planted.write(tmp_path / "study", finished + aged, spec)
    report.write(study_dir)
    plain = planted.write(tmp_path / "plain", finished, bare)
    report.write(plain)
    names = {path.name for path in (plain / "figures").iterdir()}
    for name in names:
        if name.endswith((".csv", ".svg")):
            assert (plain / "figures" / name).read_bytes() == (
                study_dir / "figures" / name
            ).read_bytes(), name
    more = {path.name for path in (study_dir / "figures").iterdir()} - names
    assert {name.split("_")[0] for name in more} == {"ages"}
    text = (study_dir / "report.md").read_text()
    assert "fewer than 6 cannot show a difference" in text
    gap = source.load(planted.write(tmp_path / "gap", finished + aged[:-1], spec))
    assert "seed 2 lacks 1 of" in " ".join(report.checks.missing(gap))


def test_a_study_without_ages_has_the_identity_that_it_had():
    spec = planted.SPEC
    fields = {f.name for f in dataclasses.fields(StudySpec)} - {"donor_updates"}
    assert set(spec.to_json()) == fields
    assert StudySpec.from_json(spec.to_json()) == spec
    stored = SPEC.to_json()
    assert stored["donor_updates"] == [0, 10, 30, 100, 300]
    assert StudySpec.from_json(json.loads(json.dumps(stored))) == SPEC
    design = study.Specs(spec, DataSpec(), ModelSpec(), TrainSpec())
    parts = {name: part.to_json() for name, part in design.named().items()}
    assert design.digest == files.digest(parts)
    (record,) = planted.arm((0.5,))
    assert "updates" not in json.loads(record.to_line())
    aged = dataclasses.replace(record, updates=30)
    for one in (record, aged):
        assert records.Record.from_line(one.to_line()) == one
    assert aged.key[:4] == record.key[:4]


def test_only_trainings_of_donors_keep_their_networks(tmp_path):
    spec = StudySpec(directions=(planted.TO_MASKS,), seeds=2, donor_updates=(0, 30))
    design = study.Specs(spec, DataSpec(), ModelSpec(), TrainSpec())
    kept = {name: design.ages(network) for name, network in design.networks().items()}
    assert kept == {
        name: (0, 30) if name.startswith("autoencoder") else () for name in kept
    }
    trainings = [u.spec for u in study.plan(design, tmp_path) if "train" in u.name]
    assert {t["name"] for t in trainings if "ages" in t} == {
        "autoencoder-0",
        "autoencoder-1",
    }
    assert "donors after 0, 30 updates" in design.describe()


REFUSED = {
    "--donor_updates=10,2000": "takes numbers below --steps=2000",
    "--donor_updates=10 --directions= --label_counts=8": "--directions, which is empty",
    "--donor_updates=10 --recipient=R.keras --donors=A.keras": "that a study trains",
}


@pytest.mark.parametrize("words", REFUSED)
def test_ages_that_cannot_be_are_refused_in_one_line(words):
    done = commands.run("study", *words.split(), "--dry_run")
    assert done.returncode and REFUSED[words] in done.stderr
    assert len(done.stderr.splitlines()) == 1


STUDY = StudySpec(
    seeds=2,
    directions=(planted.TO_MASKS,),
    links=("same",),
    groups=("kernel", "affine", "stats", "all"),
    sites=("all",),
    controls=("self", "initial"),
    repairs=("none", "recalibration", "permutation"),
    donor_updates=(0, 3),
    calibration_examples=16,
)


@pytest.fixture(scope="module")
def block(scenes):
    data_spec = DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16))
    train = TrainSpec(steps=5, batch_size=4, validations=1, learning_rate=0.01)
    model = ModelSpec(width=4, depth=1)
    return study.Specs(STUDY, data_spec, model, train).blocks()[0]


@pytest.fixture(scope="module")
def space(block, tmp_path_factory):
    """A recipient, and its donor from the same initial values, which is the recipient at 3."""
    folder = tmp_path_factory.mktemp("models")
    for network in block.parts.values():
        path = folder / network.name
        retrials.train(block.specs, network, path, lambda step, text: None)
        kept = {path.name for path in path.glob("update-*.keras")}
        is_donor = network == block.parts["transfer"]
        assert kept == ({"update-0.keras", "update-3.keras"} if is_donor else set())
    paths = {part: folder / network.name for part, network in block.parts.items()}
    shutil.copyfile(
        paths["recipient"] / "model.keras", paths["transfer"] / "update-3.keras"
    )
    return workspace.open_workspace(recipient.load(block, folder))


@pytest.fixture(scope="module")
def measured(space):
    return {record.key: record for record in records_of(space)}


def test_a_donor_that_is_the_recipient_from_an_age_on_retains_everything_then(measured):
    at_3 = [record for record in measured.values() if record.updates == 3]
    assert len(at_3) == 4 * 3  # groups, repairs
    for record in at_3:
        assert (record.changed, record.after) == (0, record.before), record.key
        assert (record.donor, record.control) == (
            "autoencoder-0-as-segmentation",
            "transfer",
        )
    finished = [r for r in measured.values() if r.updates is None]
    assert any(r.changed for r in finished if r.control == "transfer")
    digests = {(r.updates, r.control): r.donor_digest for r in measured.values()}
    assert digests[3, "transfer"] == digests[None, "self"]  # the same file
    assert len(set(digests.values())) == 3  # the recipient, the initial and last donor


def test_before_the_first_update_a_donor_has_the_initial_values_that_both_share(
    measured,
):
    compared = 0
    for record in measured.values():
        if record.updates != 0 or record.group not in ("kernel", "affine"):
            continue
        if record.repair == "permutation":
            continue
        (same,) = (
            r
            for r in measured.values()
            if (r.control, r.group, r.repair)
            == ("initial", record.group, record.repair)
        )
        assert (record.counts, record.rmse) == (same.counts, same.rmse)
        compared += 1
    assert compared == 4


def test_ages_are_arms_of_the_treatment_alone_and_counted_before_they_run(block, space):
    bare = dataclasses.replace(STUDY, donor_updates=())
    sites = treatments.sites(space.recipient.model, specs.SITES)
    every = dataclasses.replace(STUDY, sites=specs.SITES, strengths=(0.5, 1.0))
    variables = space.recipient.variables
    listed, plain = (
        treatments.arms(sites, variables, dataclasses.replace(every, donor_updates=age))
        for age in ((0, 3), ())
    )
    added = [arm for arm in listed if arm.updates is not None]
    assert [arm for arm in listed if arm.updates is None] == plain
    transfers = [a for a in plain if a.control == "transfer" and a.strength == 1]
    whole = [
        arm for arm in transfers if not arm.order
    ]  # channels: the finished donor's
    expected = [dataclasses.replace(a, updates=u) for a in whole for u in (0, 3)]
    assert sorted(map(repr, added)) == sorted(map(repr, expected))
    counts = cost._repairs(block, space.recipient.model)
    specs_ = dataclasses.replace(block.specs, study=bare)
    before = cost._repairs(specs_.blocks()[0], space.recipient.model)
    assert counts.total() - before.total() == 2 * 4 * 3  # ages, groups, repairs
