"""An arm's record equals a slow, plain computation, and the recipient is restored."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from measured import records_of

from tfreuse import data, models, roles, runners, study, transplant
from tfreuse.models import saving
from tfreuse.specs import REPAIRS, DataSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.study import measuring, recipient, treatments, workspace
from tfreuse.training import evaluation, folding, recalibration, sweep

STUDY = StudySpec(
    seeds=2,
    directions=("autoencoder-to-segmentation",),
    groups=("kernel", "affine", "stats", "all"),
    sites=("stage", "all"),
    controls=("self", "reinitialised", "reordered", "zeroed"),
    repairs=REPAIRS,
    strengths=(0.5, 1.0),
    fold_batch_norm=False,
    fine_tuning_steps=2,
    calibration_examples=16,
)


@pytest.fixture(scope="module")
def block(scenes):
    data_spec = DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16))
    train = TrainSpec(batch_size=4, learning_rate=0.01)
    model = ModelSpec(width=4, depth=1)
    return study.Specs(STUDY, data_spec, model, train).blocks()[0]


@pytest.fixture(scope="module")
def models_dir(block, tmp_path_factory):
    """Networks of two seeds whose arrays all differ, as training would have left them."""
    folder = tmp_path_factory.mktemp("models")
    networks = [*block.parts.values(), *other_seed(block).parts.values()]
    for number, network in enumerate(networks):
        draw = np.random.default_rng(number)
        model = models.build(
            network.model, task=network.train.task, num_classes=3, seed=number
        )
        for variable in model.trainable_variables:
            noise = draw.normal(scale=0.2, size=variable.shape)
            variable.assign_add(noise.astype(variable.dtype))
        saving.save(model, folder / network.name / "model.keras")
    return folder


def other_seed(block):
    return dataclasses.replace(block, seed=1)


@pytest.fixture(scope="module")
def opened(block, models_dir):
    return recipient.load(block, models_dir)


@pytest.fixture(scope="module")
def space(opened):
    return workspace.open_workspace(opened)


@pytest.fixture(scope="module")
def records(space):
    return records_of(space)


def test_recipients_of_one_structure_share_traced_functions_and_give_the_same_bits(
    block, models_dir, monkeypatch
):
    traced, init = [], sweep.Sweep.__init__
    dropped = []  # of each seeding, whether TensorFlow drops all functions it has optimized

    def counting(self, *arguments, **options):
        traced.append(self)
        init(self, *arguments, **options)

    def few_arms(block, cache):
        space = workspace.open_workspace(recipient.load(block, models_dir, cache))
        space.arms = space.arms[::15]
        return [dataclasses.replace(r, seconds=0.0) for r in records_of(space)]

    cache, other = runners.Cache(), other_seed(block)
    few_arms(block, cache)
    monkeypatch.setattr(sweep.Sweep, "__init__", counting)
    monkeypatch.setattr(
        tf.random, "set_seed", lambda seed: dropped.append(tf.executing_eagerly())
    )
    records = few_arms(other, cache)
    assert not traced and dropped and not any(dropped)
    assert {record.repair for record in records} > {"none", "stitch", "fine_tuning"}
    assert records == few_arms(other, runners.Cache())
    assert traced


def test_no_barrier_lies_before_the_recipient_with_its_channels_back_in_order(records):
    """Reordered channels compute the same, but their mean with the recipient's does not."""
    ways = {
        (record.group, record.repair): record
        for record in records
        if (record.control, record.strength) == ("reordered", 0.5)
    }
    assert {repair for _, repair in ways} == set(REPAIRS[:4])
    for group in ("kernel", "affine", "stats", "all"):
        aligned, plain = ways[group, "permutation"], ways[group, "none"]
        assert aligned.after == pytest.approx(aligned.before, abs=1e-4)
        assert plain.counts != aligned.counts


def test_a_record_is_what_a_plain_transplant_and_evaluation_give(
    block, models_dir, opened, records
):
    """Both networks are read anew, arrays are set by layer and role, nothing is kept."""
    pair = {}
    for part in ("recipient", "transfer"):
        network = block.parts[part]
        model = saving.load(models_dir / network.name / "model.keras")
        recalibration.Recalibrator(model, opened.images)()
        pair[part] = model
    model, donor = pair["recipient"], pair["transfer"]
    start = model.get_weights()
    evaluate = evaluation.Evaluator(model, opened.test, "segmentation")
    sites = {site.name: site for site in treatments.sites(model, ("stage", "all"))}
    compared = 0
    for record in records:
        repairs = ("none", "recalibration")
        if record.control != "transfer" or record.repair not in repairs:
            continue
        if record.strength < 1:
            continue
        model.set_weights(start)
        for layer in sites[record.site].layers:
            variables, values = (m.get_layer(layer).weights for m in (model, donor))
            for variable, value in zip(variables, values, strict=True):
                if variable.name in roles.expand(record.group):
                    variable.assign(value)
        if record.repair == "recalibration":
            recalibration.Recalibrator(model, opened.images)()
        counts = evaluate()
        assert record.counts == counts.sums(), record.key
        assert record.after == counts.value
        compared += 1
    assert compared == 2 * 4 * 4  # repairs, groups, sites


def test_laws_of_the_controls_hold(records):
    for record in records:
        aligned = record.control == "reordered" and record.repair == "permutation"
        if aligned or (record.control == "self" and record.repair == "none"):
            assert (record.changed, record.after) == (0, record.before), record.key
    changed = [record for record in records if record.control == "zeroed"]
    assert changed and all(record.changed for record in changed)


def test_the_recipient_is_restored_bit_for_bit(opened, records):
    assert records
    present = transplant.values(opened.model)
    for path, value in opened.values.items():
        np.testing.assert_array_equal(present[path], value, path)
    assert np.array_equal(opened.evaluate().per_image, opened.before.per_image)


@pytest.fixture(scope="module")
def arm(space):
    """Kernels of the first stage, with every repair."""
    arm = next(
        arm
        for arm in space.arms
        if (arm.site.kind, arm.group, arm.control) == ("stage", "kernel", "transfer")
        and arm.strength == 1
    )
    assert arm.repairs == REPAIRS
    return arm


def measure_alone(arm, space, repair):
    key = measuring._key(space.recipient.block, arm)
    recorded = {(*key, other) for other in REPAIRS if other != repair}
    ((record, _),) = measuring.measure_arm(arm, space, recorded)
    return record


def test_layers_behind_a_stitch_keep_their_original_statistics(space, arm, monkeypatch):
    snapshots, close = [], space.stitches.close

    def spy(*arguments):
        snapshots.append(transplant.values(space.recipient.model))
        close(*arguments)

    monkeypatch.setattr(space.stitches, "close", spy)
    measure_alone(arm, space, "stitch")
    (present,) = snapshots
    for variable in space.recipient.variables:
        if variable.role in roles.GROUPS["stats"]:
            original = space.recipient.values[variable.path]
            same = np.array_equal(present[variable.path], original)
            assert same == (variable.layer not in arm.site.layers), variable.path


def test_no_repair_depends_on_those_that_were_measured_before_it(space, arm, records):
    """A study that was interrupted within an arm measures the rest of its repairs later."""
    key = measuring._key(space.recipient.block, arm)
    by_key = {record.key: record for record in records}
    for repair in reversed(REPAIRS):
        alone = measure_alone(arm, space, repair)
        assert dataclasses.replace(
            alone, seconds=0.0, per_image=None
        ) == dataclasses.replace(by_key[*key, repair], seconds=0.0, per_image=None)


def test_arms_follow_the_network_and_their_repairs_a_fixed_order(
    space, opened, records
):
    study_spec = opened.block.specs.study
    listed = treatments.arms(
        treatments.sites(opened.model, study_spec.sites), opened.variables, study_spec
    )
    assert sorted(map(repr, space.arms)) == sorted(map(repr, listed))
    kinds = [arm.site.kind for arm in space.arms]
    assert kinds == sorted(kinds, key=["all", "stage"].index)
    stages = space.arms[kinds.index("stage") :]
    positions = workspace.first_positions(opened.evaluate.sweep, opened, stages)
    assert positions == sorted(positions)
    expected = [
        (*measuring._key(opened.block, arm), repair)
        for arm in space.arms
        for repair in sorted(
            arm.repairs,
            key=lambda name: (name.startswith("permutation"), REPAIRS.index(name)),
        )
    ]
    assert [record.key for record in records] == expected


@pytest.mark.parametrize("fold", [True, False])
def test_batch_normalization_is_folded_only_where_the_study_says_so(
    opened, fold, monkeypatch
):
    views = []

    def folded(model):
        views.append(fold_model(model))
        return views[-1]

    fold_model = folding.folded
    monkeypatch.setattr(folding, "folded", folded)
    specs = dataclasses.replace(
        opened.block.specs, study=dataclasses.replace(STUDY, fold_batch_norm=fold)
    )
    block = specs.blocks()[0]
    counts = recipient.evaluator(
        opened.model, block, opened.test, opened.images, opened.targets
    )()
    assert len(views) == fold
    assert counts.value == pytest.approx(opened.before.value, abs=0.01)


@pytest.mark.parametrize("deterministic", [True, False])
def test_every_unit_of_work_starts_tensorflow_as_the_study_says(
    deterministic, tmp_path, monkeypatch
):
    class Started(Exception):
        pass

    def start(threads, deterministic):
        raise Started(threads, deterministic)

    specs = study.Specs(
        dataclasses.replace(STUDY, controls=()),
        DataSpec(),
        ModelSpec(),
        TrainSpec(deterministic=deterministic),
    )
    monkeypatch.setattr("tfreuse.runtime.start", start)
    units = [
        *study.plan(specs, tmp_path),
        study.work.finishing(specs, ("stats",), tmp_path),
    ]
    assert {unit.kind for unit in units} == {"train", "measure", "finish"}
    for unit in units:
        with pytest.raises(Started) as caught:
            unit.function(None, 3, *unit.arguments)
        assert caught.value.args == (3, deterministic)


@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_kernels_are_chosen_only_on_demand(deterministic, monkeypatch):
    import tensorflow as tf

    from tfreuse import runtime

    calls = []
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: calls.append(True)
    )
    runtime.start(deterministic=deterministic)
    assert calls == [True] * deterministic


def test_images_for_statistics_are_the_first_of_training(opened):
    images = data.load(opened.block.specs.data, "train").tensors["image"][:16]
    np.testing.assert_allclose(opened.images, np.asarray(images) / 255, atol=1e-6)
