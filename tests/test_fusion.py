"""Fewer operations, the same training: updates by one operation a variable."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfreuse import models, training
from tfreuse.specs import ModelSpec, TrainSpec
from tfreuse.training import fusion, objective

MODEL = ModelSpec(width=4, depth=1)
TRAIN = TrainSpec(steps=20, batch_size=8, weight_decay=0.1, learning_rate=1e-2)


def trained(fuse, path, steps=5):
    """A model that plain Keras or ours updated, saved and read by plain Keras."""
    draw = np.random.default_rng(0)
    images = draw.random((8, 16, 16, 3), dtype=np.float32)
    masks = draw.integers(0, 3, (8, 16, 16))
    model = models.build(MODEL, task="segmentation", num_classes=3, seed=5)
    model.compile(training.optimizer(model, TRAIN), training.loss("segmentation"))
    fuse(model.optimizer)
    for _ in range(steps):
        model.train_on_batch(images, masks)
    model.save(path)
    return keras.models.load_model(path)


def test_fused_updates_train_as_keras_s_own_do_and_leave_the_same_state(tmp_path):
    """Weights, moments and the number of updates; what is saved is Keras's AdamW."""
    plain = trained(lambda optimizer: optimizer, tmp_path / "plain.keras")
    fused = trained(fusion.with_fused_updates, tmp_path / "fused.keras")
    start = models.build(MODEL, task="segmentation", num_classes=3, seed=5)
    assert type(fused.optimizer) is keras.optimizers.AdamW
    assert int(fused.optimizer.iterations) == 5
    pairs = zip(plain.weights, fused.weights, start.weights, strict=True)
    for one, two, first in pairs:
        if "conv" in one.path and one.name == "bias":
            continue  # before a batch norm its gradient is rounding alone
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=2e-5, err_msg=one.path)
        assert np.abs(one.numpy() - first.numpy()).max() > 1e-3
    states = (plain.optimizer.variables, fused.optimizer.variables)
    for one, two in zip(*states, strict=True):
        scale = max(1e-6, np.abs(one.numpy()).max())
        if not one.path.endswith("conv_bias_momentum"):
            np.testing.assert_allclose(
                one / scale, two / scale, atol=1e-3, err_msg=one.path
            )


def test_the_first_update_is_the_formula_of_adam():
    """By hand: m = 0.1 g, v = 0.001 g², so that each number moves by the rate."""
    variable = keras.Variable(np.array([1.0, -2.0, 3.0], np.float32))
    optimizer = keras.optimizers.AdamW(0.5, weight_decay=0.1, epsilon=0.0)
    fusion.with_fused_updates(optimizer)
    optimizer.apply([tf.constant([4.0, -0.5, 1e-3])], [variable])
    decayed = 0.95 * np.array([1.0, -2.0, 3.0])
    expected = decayed - 0.5 * np.array([1.0, -1.0, 1.0])
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(
        optimizer._momentums[0].numpy(), [0.4, -0.05, 1e-4], rtol=1e-5
    )
    np.testing.assert_allclose(
        optimizer._velocities[0].numpy(), [0.016, 0.00025, 1e-9], rtol=1e-4
    )


@pytest.mark.parametrize("longest, share", [(0.0, 1.0), (0.5, 0.1), (7.0, 1.0)])
def test_a_gradient_is_shortened_to_the_norm_of_all_parameters(longest, share):
    variables = [keras.Variable([0.0, 1.0]), keras.Variable([2.0])]
    spec = TrainSpec(clip_norm=longest)
    optimizer = fusion.with_fused_updates(objective.optimizer(None, spec))
    optimizer.apply(
        [tf.constant([3.0, 0.0]), tf.constant([4.0])], variables
    )  # length 5
    moments = [moment.numpy() for moment in optimizer._momentums]
    np.testing.assert_allclose(moments[0], [0.3 * share, 0.0], rtol=1e-5)
    np.testing.assert_allclose(moments[1], [0.4 * share], rtol=1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(0.1),
        keras.optimizers.AdamW(0.1, amsgrad=True),
        keras.optimizers.Nadam(0.1),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_updates_of_another_formula_stay_keras_s_own(optimizer):
    before = optimizer._backend_update_step
    assert fusion.with_fused_updates(optimizer)._backend_update_step == before


def test_a_training_step_is_a_third_of_the_operations_and_computes_few_rates():
    model = models.build(MODEL, task="segmentation", num_classes=3, seed=5)
    images = tf.zeros((2, 16, 16, 3))
    masks = tf.zeros((2, 16, 16), tf.int32)
    sizes, rates = [], []
    for fuse in (lambda optimizer: optimizer, fusion.with_fused_updates):
        optimizer = training.optimizer(model, TRAIN)
        graph = fusion.fused(model)
        graph.compile(fuse(optimizer), training.loss("segmentation"))
        step = tf.function(lambda x, y, graph=graph: graph.train_step((x, y)))
        traced = step.get_concrete_function(images, masks)
        operations = traced.graph.get_operations()
        sizes.append(len(operations))
        # The schedule asks whether the warm-up is over.
        rates.append(sum(op.type in ("If", "StatelessIf") for op in operations))
    assert sizes[1] < 0.5 * sizes[0]
    assert rates[1] <= 2 < rates[0]
