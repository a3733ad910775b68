"""Training on several devices, compiled, and traced."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import keras
import nets
import numpy as np
import pytest

from tfreuse import files, models, training
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.specs import DataSpec, DeviceSpec, ModelSpec, TrainSpec
from tfreuse.training import devices

DATA = DataSpec(image_size=(16, 16), train_examples=32, test_examples=8, ignore_label=0)
MODEL = ModelSpec(width=4, depth=1)
TRAIN = TrainSpec(steps=6, batch_size=4, validations=2, learning_rate=1e-2)

# A process may hold one mirrored strategy: each training has its own. The logical devices of
# a CPU stand for GPUs.
PROGRAM = """
import json, pathlib, sys
from tfreuse import runtime
runtime.start(threads=1)
import tensorflow as tf
stop, out_dir, *specs = json.loads(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
logical = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, logical)
from tfreuse import training
from tfreuse.specs import DataSpec, DeviceSpec, ModelSpec, TrainSpec
kinds = (ModelSpec, DataSpec, TrainSpec, DeviceSpec)
*specs, device_spec = (k.from_json(v) for k, v in zip(kinds, specs, strict=True))
def report(step, text):
    if step == stop:
        sys.exit(3)
training.train(*specs, pathlib.Path(out_dir), device_spec=device_spec, report=report)
"""


# Labels are ignored, so that the devices count different numbers of pixels; and all gradients of
# the first updates are clipped.
WEIGHTED = dataclasses.replace(TRAIN, class_weights="balanced", clip_norm=0.05)


@pytest.fixture(scope="module")
def two_blocks(tmp_path_factory):
    """A network of two batch norms: tracing for two devices takes five times as long."""
    path = tmp_path_factory.mktemp("networks") / "two_blocks.keras"
    features = inputs = keras.Input((None, None, 3))
    for name in ("a", "b"):
        features = keras.layers.ReLU()(nets.block(features, name, filters=8))
    logits = keras.layers.Conv2D(5, 1, name="logits")(features)
    saving.save(keras.Model(inputs, logits), path)
    return ModelSpec(model=str(path))


def train_on_two(model: ModelSpec, out_dir: pathlib.Path, stop: int = 0) -> int:
    specs = (model, DATA, WEIGHTED, DeviceSpec(strategy="mirrored"))
    words = json.dumps([stop, str(out_dir), *(spec.to_json() for spec in specs)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    return done.returncode


@pytest.mark.slow
def test_two_devices_train_what_one_does_and_go_on_after_a_stop(two_blocks, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    training.train(two_blocks, DATA, WEIGHTED, one)
    assert train_on_two(two_blocks, two, stop=5) == 3  # a checkpoint is of step 3
    assert train_on_two(two_blocks, two) == 0
    found = [saving.load(path / "last.keras") for path in (one, two)]
    fresh = models.build(
        two_blocks, task="segmentation", num_classes=5, seed=TRAIN.seed
    )
    for first, second, start in zip(*(m.weights for m in (*found, fresh)), strict=True):
        if first.name != "bias":  # of a convolution before a batch norm: rounding alone
            np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-4)
            assert np.abs(first.numpy() - start.numpy()).max() > 1e-3
    layer = found[1].get_layer("a_bn")
    assert not layer.synchronized  # what is saved is plain
    optimizers = [
        saving.load(path / "last.keras", optimizer=True).optimizer
        for path in (one, two)
    ]
    for first, second in zip(*(o.variables for o in optimizers), strict=True):
        slack = 2e-3 * np.abs(first.numpy()).max() + 1e-8
        np.testing.assert_allclose(first, second, atol=slack, err_msg=first.path)


def marked_steps(trace: pathlib.Path) -> int:
    """How many steps the trace tells apart, as TensorBoard's plugin does."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(trace.read_bytes())
    return sum(
        plane.event_metadata[event.metadata_id].name == "train"
        for plane in space.planes
        for line in plane.lines
        for event in line.events
    )


def traced(spec: TrainSpec, out_dir: pathlib.Path) -> int:
    """Trains with a profile; returns how many steps its trace tells apart."""
    training.train(MODEL, DATA, spec, out_dir, device_spec=DeviceSpec(profile=True))
    (trace,) = out_dir.glob("tensorboard/plugins/profile/*/*.xplane.pb")
    return marked_steps(trace)


def test_a_profile_holds_the_traced_steps_and_changes_no_bit(tmp_path):
    spec = TrainSpec(steps=20, batch_size=4, validations=1)
    plain, profiled = tmp_path / "plain", tmp_path / "profiled"
    training.train(MODEL, DATA, spec, plain)
    assert traced(spec, profiled) == devices.TRACED
    assert not list(plain.rglob("*.xplane.pb"))
    found = [
        saving.load(path / "last.keras").get_weights() for path in (plain, profiled)
    ]
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    # how it is computed is no part of a run's identity
    compiled = DeviceSpec(jit_compile="on")
    again = training.train(MODEL, DATA, spec, plain, device_spec=compiled)
    assert again == files.read_json(plain / "metrics.json")
    assert set(files.read_json(plain / "run.json")["specs"]) == {
        "model",
        "data",
        "train",
    }


def test_a_profile_of_a_short_training_holds_all_its_steps(tmp_path):
    spec = TrainSpec(steps=3, batch_size=4, validations=1)
    assert traced(spec, tmp_path) == 3 < devices.TRACED


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "auto"),
        ({"jit_compile": "on"}, True),
        ({"jit_compile": "off"}, False),
        ({"strategy": "mirrored"}, False),
        ({"strategy": "mirrored", "jit_compile": "on"}, True),
    ],
)
def test_xla_is_left_to_keras_but_where_devices_exchange_statistics(options, expected):
    assert devices.jit_compile(DeviceSpec(**options)) is expected or expected == "auto"
    assert devices.jit_compile(DeviceSpec(**options)) == expected


def test_a_batch_that_devices_cannot_share_is_refused(monkeypatch):
    import tensorflow as tf

    three = [tf.config.LogicalDevice(f"/device:GPU:{n}", "GPU") for n in range(3)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: three)
    with pytest.raises(InputError, match="multiple of 3, or --strategy=none"):
        devices.strategy(DeviceSpec(strategy="mirrored"), 16)
    assert devices.strategy(DeviceSpec(), 16).num_replicas_in_sync == 1
