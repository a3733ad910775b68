import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfreuse import (
    data,
    files,
    models,
    training,
)
from tfreuse.cli import train as train_tool
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.runners import Cache
from tfreuse.specs import DataSpec, ModelSpec, TrainSpec
from tfreuse.training import evaluation, fusion, initial, recalibration

MODEL = ModelSpec(width=4, depth=1)
TRAIN = TrainSpec(steps=12, batch_size=4, validations=3, learning_rate=5e-3)


@pytest.fixture(scope="module")
def data_spec(scenes):
    return DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16))


@pytest.fixture(scope="module")
def cache():
    """What trainings that begin anew share; those that go on have a cache of their own."""
    return Cache()


@pytest.fixture(scope="module")
def trained(data_spec, cache, tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("trained")
    training.train(MODEL, data_spec, TRAIN, out_dir, cache=cache)
    return out_dir


def weights(path: pathlib.Path):
    return saving.load(path).get_weights()


def same(first, second):
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)


def differ(first, second):
    return any((a != b).any() for a, b in zip(first, second, strict=True))


class Stopped(Exception):
    pass


def stop_at(last):
    """Reports progress until a step at which the run is cut off."""

    def stop(step, text):
        if step == last:
            raise Stopped

    return stop


def begun(model_spec, data_spec, spec, out_dir):
    """Returns the model of a training before its first update, and its first batch."""
    starts = []

    def session(model, split, validation, spec, *more):
        (batch,) = training.batches(model, split, spec).take(1)
        starts.extend([model, tuple(tensor.numpy() for tensor in batch)])
        raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(training, "Session", session)
        training.train(model_spec, data_spec, spec, out_dir)
    return starts


def test_training_learns(data_spec, tmp_path):
    spec = dataclasses.replace(TRAIN, steps=300, learning_rate=1e-2)
    metrics = training.train(MODEL, data_spec, spec, tmp_path)
    assert metrics["mean_iou"] > 3 * metrics["floor"]
    confusion = np.array(metrics["confusion_matrix"])
    assert confusion.sum() == 8 * 16 * 16  # every pixel of every test image


def test_an_auto_encoder_learns(data_spec, tmp_path):
    spec = dataclasses.replace(TRAIN, task="autoencoder", steps=300, learning_rate=1e-2)
    metrics = training.train(MODEL, data_spec, spec, tmp_path)
    assert metrics["r2"] > 0.3
    assert metrics["psnr"] > 12
    assert 0 < metrics["ssim"] < 1


def test_another_seed_starts_with_other_values_and_images(data_spec, tmp_path):
    """That the same seed gives the same bits is seen below, where a run is begun again."""
    (first, batch), (same_, again), (other, others) = (
        begun(MODEL, data_spec, dataclasses.replace(TRAIN, seed=seed), tmp_path / name)
        for name, seed in (("first", 0), ("same", 0), ("other", 1))
    )
    same(first.get_weights(), same_.get_weights())
    same(batch, again)
    assert differ(first.get_weights(), other.get_weights())
    assert (batch[0] != others[0]).any()


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    trained, cache, data_spec, tmp_path
):
    """And what it keeps along the way changes nothing: `trained` kept nothing."""
    keep = (0, 3, 4, 8)
    kept = {updates: training.kept_path(tmp_path, updates) for updates in keep}
    with pytest.raises(Stopped):  # in the second period; the checkpoint is of step 4
        training.train(
            MODEL, data_spec, TRAIN, tmp_path, keep=keep, report=stop_at(7), cache=cache
        )
    fourth = weights(tmp_path / "last.keras")
    start, _ = begun(MODEL, data_spec, TRAIN, tmp_path / "other")
    same(weights(kept[0]), start.get_weights())
    same(weights(kept[4]), fourth)
    assert not kept[8].exists()
    steps, eighth = [], []

    def look(step, text):
        steps.append(step)
        if step == 9:
            eighth.extend(weights(tmp_path / "last.keras"))

    training.train(MODEL, data_spec, TRAIN, tmp_path, keep=keep, report=look)
    assert steps == list(range(5, 13))
    same(weights(kept[4]), fourth)
    same(weights(kept[8]), eighth)
    third = weights(kept[3])
    assert differ(third, fourth) and differ(third, weights(kept[0]))
    for name in ("last.keras", "model.keras"):
        same(weights(trained / name), weights(tmp_path / name))
    for name in ("history.json", "run.json"):
        assert files.read_json(trained / name) == files.read_json(tmp_path / name)
    assert not list(trained.glob("update-*"))
    with pytest.raises(InputError, match=r"expected .*update-3.keras.*past 3 updates"):
        training.train(MODEL, data_spec, TRAIN, trained, keep=(3,))


def test_recalibration_changes_the_saved_model_alone_and_goes_on_after_a_stop(
    trained, data_spec, tmp_path
):
    with pytest.raises(Stopped):
        training.train(
            MODEL, data_spec, TRAIN, tmp_path, recalibrate=True, report=stop_at(7)
        )
    with pytest.raises(InputError, match="begun with --recalibrate"):
        training.train(MODEL, data_spec, TRAIN, tmp_path)
    metrics = training.train(MODEL, data_spec, TRAIN, tmp_path, recalibrate=True)
    same(weights(trained / "last.keras"), weights(tmp_path / "last.keras"))
    assert metrics["recalibration_images"] == 32
    assert "recalibration_images" not in files.read_json(trained / "metrics.json")
    assert files.read_json(tmp_path / "run.json")["recalibrate"] is True
    model = saving.load(tmp_path / "model.keras")
    norm = model.get_layer("encoder_1_a_bn")
    found = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    images = training.statistics_images(data.load(data_spec, "train"), TRAIN)
    recalibration.Recalibrator(model, images)()  # the inputs of the first need no other
    np.testing.assert_allclose(found[0], norm.moving_mean.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1], norm.moving_variance.numpy(), rtol=1e-4)


def test_a_run_of_before_recalibration_goes_on_without_it():
    assert not training._recorded({"specs": {}}, True)
    assert training._recorded({"specs": {}, "recalibrate": True}, True)


def test_images_smaller_than_the_window_of_ssim_are_measured_in_a_smaller_one(scenes):
    model = models.build(
        ModelSpec(width=2, depth=1), task="autoencoder", num_classes=0, seed=0
    )
    spec = DataSpec(dataset="folder", data_dir=str(scenes), image_size=(8, 12))
    split = data.load(spec, "val", masks=False)
    metrics = training.evaluate(model, split, "autoencoder")
    assert metrics["ssim_window"] == 8
    images = np.stack([e["image"] for e in split.examples.as_numpy_iterator()]) / 255
    outputs = np.clip(model.predict(images, verbose=0), 0, 1)
    expected = tf.image.ssim(
        tf.cast(images, tf.float32), tf.constant(outputs), 1.0, filter_size=8
    )
    np.testing.assert_allclose(metrics["ssim"], np.mean(expected), rtol=1e-4)
    assert "windows of 8 pixels" in train_tool.describe(metrics)


CORRUPTED = dataclasses.replace(
    TRAIN, task="autoencoder", corruption="mask", steps=6, validations=3
)


@pytest.fixture(scope="module")
def corrupted(data_spec, cache, tmp_path_factory):
    """The directory of a training on corrupted images, and its metrics."""
    out_dir = tmp_path_factory.mktemp("corrupted")
    return out_dir, training.train(MODEL, data_spec, CORRUPTED, out_dir, cache=cache)


def test_a_corrupted_run_that_was_stopped_goes_on_with_the_same_bits(
    corrupted, cache, data_spec, tmp_path
):
    through, metrics = corrupted
    with pytest.raises(Stopped):
        training.train(
            MODEL, data_spec, CORRUPTED, tmp_path, report=stop_at(3), cache=cache
        )
    again = training.train(MODEL, data_spec, CORRUPTED, tmp_path)
    same(weights(through / "last.keras"), weights(tmp_path / "last.keras"))
    assert again | {"seconds": 0} == metrics | {"seconds": 0}
    assert metrics["corruption"] == "mask"


def test_corrupted_images_are_restored_to_those_of_a_plain_training(
    data_spec, tmp_path
):
    plain = dataclasses.replace(CORRUPTED, corruption="none")
    (_, (images, targets)), (_, (whole, same_)) = (
        begun(MODEL, data_spec, spec, tmp_path / spec.corruption)
        for spec in (CORRUPTED, plain)
    )
    np.testing.assert_array_equal(targets, same_)
    np.testing.assert_array_equal(whole, same_)
    assert (images != whole).any()


def test_inpainting_counts_the_pixels_that_the_mask_changed(data_spec, tmp_path):
    spec = dataclasses.replace(CORRUPTED, corruption="inpaint")
    _, (images, targets, weights) = begun(MODEL, data_spec, spec, tmp_path)
    hidden = (images == 0.5).all(axis=-1)  # no byte over 255 is 0.5
    assert 0.3 < hidden.mean() < 0.7
    np.testing.assert_array_equal(weights > 0, hidden)
    losses = ((images - targets) ** 2).mean(axis=-1)
    found = training.loss("autoencoder")(targets, images, weights)
    assert float(found) == pytest.approx(losses[hidden].mean(), rel=1e-5)


def test_metrics_of_inpainting_are_of_the_image_with_its_hidden_patches_filled(
    corrupted, data_spec
):
    model = saving.load(corrupted[0] / "model.keras")
    split = data.load(data_spec, "test")
    counts = evaluation.Evaluator(model, split, "autoencoder", corruption="inpaint")()
    (batch,) = data.evaluation_batches(split, split.size)
    images, targets = data.inputs_and_targets(batch["image"], "inpaint")
    hidden = (images.numpy() == 0.5).all(axis=-1, keepdims=True)
    outputs = np.clip(model.predict(images, verbose=0), 0, 1)
    filled = np.where(hidden, outputs, targets)
    errors = np.square(filled - targets.numpy()).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(counts.per_image[:, 0], errors, rtol=1e-4)
    masked = evaluation.Evaluator(model, split, "autoencoder", corruption="mask")()
    assert (counts.per_image[:, 0] < masked.per_image[:, 0]).all()


def test_an_auto_encoder_can_learn_from_the_images_of_all_splits(data_spec, tmp_path):
    spec = dataclasses.replace(TRAIN, task="autoencoder", unlabelled="all")
    names = []

    def session(model, split, *more):
        names.extend(data.group_names(split, ".+"))
        raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(training, "Session", session)
        training.train(MODEL, data_spec, spec, tmp_path)
    splits = [data.load(data_spec, name, masks=False) for name in data.SPLITS]
    assert names == [name for split in splits for name in data.group_names(split, ".+")]


def test_validation_and_test_see_the_corruption_of_the_training(corrupted, data_spec):
    out_dir, metrics = corrupted
    model = saving.load(out_dir / "model.keras")
    history = files.read_json(out_dir / "history.json")
    for split, found in (
        ("val", max(row["value"] for row in history)),
        ("test", metrics["r2"]),
    ):
        images = data.load(data_spec, split)
        values = {
            kind: evaluation.Evaluator(model, images, "autoencoder", corruption=kind)
            for kind in ("mask", "none")
        }
        assert found == pytest.approx(values["mask"]().value, rel=1e-5)
        assert found != pytest.approx(values["none"]().value, rel=1e-5)


def test_a_network_for_foreground_has_two_classes_and_learns(data_spec, tmp_path):
    spec = dataclasses.replace(
        TRAIN, labels="foreground", steps=100, learning_rate=1e-2
    )
    metrics = training.train(MODEL, data_spec, spec, tmp_path)
    assert list(metrics["per_class_iou"]) == ["class 0", "foreground"]
    assert metrics["mean_iou"] > 1.5 * metrics["floor"]
    model = saving.load(tmp_path / "model.keras")
    assert model.output_shape[-1] == 2


def test_trainings_share_traced_functions_and_give_the_same_bits(
    trained, data_spec, tmp_path, monkeypatch
):
    """Another seed before it, and another task, leave nothing behind."""
    cache, made, init = Cache(), [], training.Session.__init__

    def counting(self, model, train_split, validation_split, spec, *more):
        made.append(spec.task)
        init(self, model, train_split, validation_split, spec, *more)

    monkeypatch.setattr(training.Session, "__init__", counting)
    order = [
        dataclasses.replace(TRAIN, seed=3),
        dataclasses.replace(TRAIN, task="autoencoder"),
        TRAIN,
    ]
    for number, spec in enumerate(order):
        folder = tmp_path / str(number)
        metrics = training.train(MODEL, data_spec, spec, folder, cache=cache)
    alone = files.read_json(trained / "metrics.json")
    assert metrics | {"seconds": 0} == alone | {"seconds": 0}
    for name in ("model.keras", "last.keras"):
        same(weights(folder / name), weights(trained / name))
    assert made == ["segmentation", "autoencoder"]


STILL = dataclasses.replace(TRAIN, steps=1, validations=1, learning_rate=0.0)


def trained_values(model: keras.Model) -> dict[str, np.ndarray]:
    """Trainable values by layer and role, the heads' left out."""
    return {
        f"{layer.name}/{variable.name}": variable.numpy()
        for layer in model.layers
        for variable in layer.trainable_variables
        if models.stage_of(layer.name) not in ("head", "auxiliary")
    }


def test_networks_of_one_initial_seed_start_alike_and_see_other_data(
    data_spec, tmp_path
):
    specs = {
        "segmentation": dataclasses.replace(STILL, seed=1, initial_seed=9),
        "autoencoder": dataclasses.replace(
            STILL, task="autoencoder", seed=2, initial_seed=9
        ),
        "foreground": dataclasses.replace(STILL, labels="foreground", seed=9),
        "other": dataclasses.replace(STILL, seed=1),
    }
    starts = {
        name: begun(MODEL, data_spec, spec, tmp_path / name)
        for name, spec in specs.items()
    }
    found = {name: trained_values(model) for name, (model, _) in starts.items()}
    other = found.pop("other")
    first = found["segmentation"]
    assert len(first) > 20
    for values in found.values():
        assert values.keys() == first.keys()
        same(values.values(), first.values())
    assert differ(other.values(), first.values())
    images = {name: batch[0].tobytes() for name, (_, batch) in starts.items()}
    assert images["other"] == images["segmentation"]  # both of seed 1
    assert len(set(images.values())) == 3


@pytest.mark.parametrize(
    "spec",
    [
        MODEL,
        ModelSpec(width=2, depth=2, skips=False),
        ModelSpec(architecture="pspnet", width=2),
        ModelSpec(architecture="pspnet", width=2, auxiliary=True),
    ],
)
def test_a_seed_gives_the_same_values_whatever_the_head(spec):
    built = [
        models.build(spec, task=task, num_classes=classes, seed=4)
        for task, classes in (
            ("segmentation", 3),
            ("segmentation", 2),
            ("autoencoder", 0),
        )
    ]
    bodies = [
        [
            variable.numpy()
            for layer in model.layers
            if layer.weights
            and models.stage_of(layer.name) not in ("head", "auxiliary")
            for variable in layer.weights
        ]
        for model in built
    ]
    assert len(bodies[0]) > 20
    for body in bodies[1:]:
        same(bodies[0], body)


def test_dropout_follows_the_seed_and_not_the_initial_one(data_spec, tmp_path):
    spec = ModelSpec(architecture="pspnet", width=2)
    split = data.load(data_spec, "val")
    states = []
    for seed in (1, 1, 2):
        train_spec = dataclasses.replace(TRAIN, seed=seed, initial_seed=9)
        model = training._start(spec, train_spec, split, tmp_path)
        layer = model.get_layer("fusion_dropout")
        states.append(layer.seed_generator.state.numpy())
    same(states[:1], states[1:2])
    assert differ(states[:1], states[2:])


@pytest.fixture(scope="module")
def donor(data_spec, tmp_path_factory):
    """An auto-encoder that has been trained, and its parent folder."""
    out_dir = tmp_path_factory.mktemp("models") / "autoencoder-0"
    spec = dataclasses.replace(TRAIN, task="autoencoder", steps=4, validations=1)
    training.train(MODEL, data_spec, spec, out_dir)
    return out_dir / "model.keras"


def test_a_network_starts_from_another_ones_values_but_for_its_head(
    donor, data_spec, tmp_path, monkeypatch
):
    beside = donor.parent.parent / "segmentation-0"
    spec = dataclasses.replace(STILL, initial_model="../autoencoder-0/model.keras")
    model, _ = begun(MODEL, data_spec, spec, beside)
    first, second = trained_values(saving.load(donor)), trained_values(model)
    assert first.keys() == second.keys()
    same(first.values(), second.values())
    fresh = models.build(MODEL, task="segmentation", num_classes=3, seed=spec.seed)
    head = model.get_layer("head_segmentation_conv")
    same(head.get_weights(), fresh.get_layer("head_segmentation_conv").get_weights())
    monkeypatch.chdir(donor.parent)  # or from where the command is typed
    spec = dataclasses.replace(STILL, initial_model="model.keras")
    model, _ = begun(MODEL, data_spec, spec, tmp_path / "far")
    same(first.values(), trained_values(model).values())


def test_a_network_starts_with_the_moving_statistics_of_the_other_too(donor):
    model = models.build(MODEL, task="segmentation", num_classes=3, seed=0)
    initial.take_values(donor, model)
    for layer in saving.load(donor).layers:
        if layer.weights and models.stage_of(layer.name) != "head":
            same(layer.get_weights(), model.get_layer(layer.name).get_weights())


def test_a_network_of_the_same_kind_keeps_a_fresh_head(donor):
    model = models.build(MODEL, task="autoencoder", num_classes=0, seed=77)
    before = model.get_layer("head_autoencoder_conv").get_weights()
    initial.take_values(donor, model)
    same(before, model.get_layer("head_autoencoder_conv").get_weights())


def test_a_resumed_run_takes_no_values_again(donor, data_spec, tmp_path):
    out_dir, copy = tmp_path / "run", tmp_path / "donor.keras"
    spec = dataclasses.replace(TRAIN, steps=6, initial_model=str(copy))
    shutil.copy(donor, copy)
    with pytest.raises(Stopped):
        training.train(MODEL, data_spec, spec, out_dir, report=stop_at(3))
    copy.unlink()
    model, _ = begun(MODEL, data_spec, spec, out_dir)
    assert int(model.optimizer.iterations) == 2
    same(weights(out_dir / "last.keras"), model.get_weights())
    first, second = trained_values(saving.load(donor)), trained_values(model)
    assert differ(first.values(), second.values())  # it has been trained


@pytest.mark.parametrize(
    "other", [{"width": 5}, {"depth": 2}, {"use_bias": False}, {"skips": False}]
)
def test_a_file_of_another_network_is_one_clear_line(donor, data_spec, tmp_path, other):
    spec = dataclasses.replace(STILL, initial_model=str(donor))
    model = dataclasses.replace(MODEL, **other)
    with pytest.raises(InputError, match="does not fit the network: .* variables"):
        training.train(model, data_spec, spec, tmp_path)
    assert not (tmp_path / "last.keras").exists()


def test_a_file_that_is_not_there_is_told_with_where_it_was_looked_for(
    data_spec, tmp_path
):
    spec = dataclasses.replace(STILL, initial_model="../none.keras")
    with pytest.raises(InputError, match="neither from --out_dir=.* nor from the work"):
        training.train(MODEL, data_spec, spec, tmp_path)


def test_a_finished_run_is_not_trained_again(trained, data_spec):
    training.train(
        MODEL, data_spec, TRAIN, trained, report=lambda step, text: pytest.fail()
    )


def test_a_directory_of_another_run_is_refused(trained, data_spec):
    with pytest.raises(InputError, match="--steps was 12, now 13"):
        training.train(MODEL, data_spec, dataclasses.replace(TRAIN, steps=13), trained)


def test_a_batch_larger_than_the_data_is_refused_with_the_largest(data_spec, tmp_path):
    spec = dataclasses.replace(TRAIN, batch_size=33)
    with pytest.raises(InputError, match="at most 32"):
        training.train(MODEL, data_spec, spec, tmp_path)


def test_a_kill_at_any_time_leaves_files_that_load(data_spec, tmp_path):
    command = [
        sys.executable, "-m", "tfreuse.cli.train", "--width=4", "--depth=1",
        "--dataset=folder", f"--data_dir={data_spec.data_dir}", "--image_size=16,16",
        "--steps=3000", "--validations=1500", "--batch_size=4", f"--out_dir={tmp_path}",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "last.keras").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    for delay in (0.3, 0.5):  # it writes checkpoints all the time
        time.sleep(delay)
        os.kill(process.pid, signal.SIGSTOP)
        for name in ("last.keras", "model.keras"):
            saving.load(tmp_path / name)
        os.kill(process.pid, signal.SIGCONT)
    process.kill()
    process.wait()
    last = saving.load(tmp_path / "last.keras", optimizer=True)
    assert int(last.optimizer.iterations) > 0


@pytest.mark.parametrize("order", ["conv_bn_relu", "conv_relu_bn"])
def test_the_fused_graph_trains_as_plain_keras_does(order):
    """Two updates from the same start: parameters and moving statistics agree."""
    draw = np.random.default_rng(0)
    images = draw.random((8, 16, 16, 3), dtype=np.float32)
    masks = draw.integers(0, 3, (8, 16, 16))
    found = []
    for view in (lambda model: model, fusion.fused):
        spec = dataclasses.replace(MODEL, block_order=order)
        model = models.build(spec, task="segmentation", num_classes=3, seed=5)
        graph = view(model)
        graph.compile(
            keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        for _ in range(2):
            graph.train_on_batch(images, masks)
        found.append(model.get_weights())
    start = models.build(spec, task="segmentation", num_classes=3, seed=5)
    for plain, fused, first in zip(*found, start.get_weights(), strict=True):
        np.testing.assert_allclose(plain, fused, rtol=2e-4, atol=2e-6)
        assert (plain != first).any() or plain.ndim == 1


def test_every_batch_norm_of_the_training_graph_is_the_fused_one():
    model = models.build(MODEL, task="segmentation", num_classes=3)
    kinds = [type(layer).__name__ for layer in fusion.fused(model).layers]
    assert "BatchNormalization" not in kinds
    assert kinds.count("_FusedNormalization") == 6


def test_only_kernels_decay():
    model = models.build(MODEL, task="segmentation", num_classes=3)
    optimizer = training.optimizer(model, TRAIN)
    decays = {
        variable.name
        for variable in model.trainable_variables
        if optimizer._use_weight_decay(variable)
    }
    assert decays == {"kernel"}


def test_optimizers_of_one_network_name_their_variables_alike():
    """Each new name would stay in memory: findings/each_new_name_of_a_variable_..."""
    model = models.build(MODEL, task="segmentation", num_classes=3)
    first, second = (training.optimizer(model, TRAIN) for _ in range(2))
    for one in (first, second):
        one.build(model.trainable_variables)
    paths = [v.path for v in first.variables]
    assert len(paths) > 10 and paths == [v.path for v in second.variables]


def test_an_auxiliary_head_trains_and_is_measured_by_its_main_output(
    data_spec, tmp_path
):
    model = ModelSpec(architecture="pspnet", width=4, auxiliary=True)
    metrics = training.train(
        model, data_spec, dataclasses.replace(TRAIN, steps=2, validations=1), tmp_path
    )
    assert np.array(metrics["confusion_matrix"]).sum() == 8 * 16 * 16


def test_mixed_precision_keeps_parameters_in_float32(data_spec, tmp_path):
    spec = dataclasses.replace(TRAIN, steps=2, validations=1, mixed_precision=True)
    training.train(MODEL, data_spec, spec, tmp_path)
    model = saving.load(tmp_path / "model.keras")
    assert {str(v.dtype) for v in model.variables} == {"float32"}
    assert model.get_layer("encoder_1_a_conv").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_per_image_counts_add_up_to_a_naive_count(data_spec):
    model = models.build(MODEL, task="segmentation", num_classes=3, seed=0)
    split = dataclasses.replace(data.load(data_spec, "test"), ignore_label=0)
    counts = evaluation.Evaluator(model, split, "segmentation", batch_size=3)()
    expected = np.zeros((8, 3, 3), int)
    for number, batch in enumerate(data.evaluation_batches(split, 1)):
        predicted = np.asarray(model(batch["image"], training=False)).argmax(-1)[0]
        truth = batch["mask"].numpy()[0]
        for t, p in zip(truth.ravel(), predicted.ravel(), strict=True):
            if t != 0:
                expected[number, t, p] += 1
    np.testing.assert_array_equal(counts.per_image, expected)


def test_a_missing_or_cut_off_model_file_is_one_clear_line(trained, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        saving.load(tmp_path / "no.keras")
    whole = (trained / "model.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="does not end with a zip directory"):
        saving.load(tmp_path / "cut.keras")


def test_tensorboard_gets_scalars_pictures_and_batch_norm_histograms(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags = {}
    for run in ("train", "validation"):
        events = EventAccumulator(
            str(trained / "tensorboard" / run), size_guidance={"tensors": 0}
        )
        events.Reload()
        tags[run] = events.Tags()["tensors"]
    assert {"loss", "learning_rate", "encoder_1_a_bn/moving_mean"} <= set(tags["train"])
    assert {"roles/kernel", "roles/moving_variance"} <= set(tags["train"])
    assert {"mean_iou", "iou/class 1", "input_truth_prediction"} <= set(
        tags["validation"]
    )
