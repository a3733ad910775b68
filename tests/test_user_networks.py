"""Networks as users bring them train, go on and are re-estimated as plain Keras has them."""

import keras
import numpy as np
import people
import pytest
from keras import layers

from tfreuse import data, models, training, transplant
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.runners import Cache
from tfreuse.specs import DataSpec, ModelSpec, TrainSpec
from tfreuse.study import repairs
from tfreuse.training import evaluation, folding, fusion, recalibration

IMAGES = 3 * people.images(12)
TRAIN = TrainSpec(steps=4, batch_size=4, validations=2, learning_rate=5e-3)


class OwnNormalization(layers.BatchNormalization):
    """A subclass with a formula of its own."""

    def call(self, inputs, training=None, mask=None):
        return 0.5 * super().call(inputs, training=training, mask=mask)


def every_normalization():
    """Batch normalizations that compute otherwise than by default, one after another."""
    x = inputs = keras.Input((people.SIDE, people.SIDE, 3))
    kinds = {
        "plain": layers.BatchNormalization(momentum=0.9),
        "no_beta": layers.BatchNormalization(center=False),
        "no_gamma": layers.BatchNormalization(scale=False),
        "synchronized": layers.BatchNormalization(synchronized=True),
        "own": OwnNormalization(),
        "frozen": layers.BatchNormalization(trainable=False),
        "stored": layers.BatchNormalization(),
    }
    for name, norm in kinds.items():
        x = layers.Conv2D(3, 1, name=f"{name}_conv")(x)
        x = norm(x, training=False) if name == "stored" else norm(x)
        x = layers.ReLU(negative_slope=0.1)(x)
    return keras.Model(inputs, layers.Conv2D(3, 1)(x))


def in_double_precision():
    keras.config.set_dtype_policy("float64")
    try:
        return people.own_names()
    finally:
        keras.config.set_dtype_policy("float32")


TWINS = ("softmax end", "bilinear")  # train as others do
NETWORKS = {
    kind: make for kind, make in people.NETWORKS.items() if kind not in TWINS
} | {
    "every normalization": every_normalization,
    "double precision": in_double_precision,
}


def built(kind):
    keras.utils.set_random_seed(0)
    return NETWORKS[kind]()


def stepped(graph, model):
    """Arrays of the model after three updates of a graph of its layers."""
    graph.compile(keras.optimizers.SGD(0.05), "mse")
    for _ in range(3):
        graph.train_on_batch(IMAGES[:8], IMAGES[:8])
    return [variable.numpy() for variable in model.variables]


@pytest.mark.parametrize("kind", NETWORKS)
def test_fused_training_is_plain_keras_training_and_folding_its_inference(kind):
    plain, fused = built(kind), built(kind)
    start = [variable.numpy() for variable in plain.variables]
    expected = stepped(plain, plain)
    found = stepped(fusion.fused(fused), fused)
    for one, two, first in zip(expected, found, start, strict=True):
        scale = max(1.0, np.abs(one).max())
        np.testing.assert_allclose(one / scale, two / scale, atol=5e-5)
    assert any((a != b).any() for a, b in zip(expected, start, strict=True))
    wanted = np.asarray(plain(IMAGES, training=False))
    folded = np.asarray(folding.folded(plain)(IMAGES, training=False))
    np.testing.assert_allclose(folded, wanted, atol=2e-5 * np.abs(wanted).max())


def test_folding_leaves_a_call_that_always_normalizes_by_its_batch():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1)(inputs)
    model = keras.Model(inputs, layers.BatchNormalization()(x, training=True))
    images = IMAGES[:2, :8, :8]
    np.testing.assert_allclose(folding.folded(model)(images), model(images), atol=1e-6)


def inputs_by_layer(model, monkeypatch):
    """All values that plain Keras passes to each batch normalization, float64 [n, channels]."""
    seen = {}
    plain = layers.BatchNormalization.call

    def spy(self, inputs, training=None, mask=None):
        values = np.moveaxis(np.asarray(inputs, np.float64), self.axis, -1)
        seen.setdefault(self, []).append(values.reshape(-1, values.shape[-1]))
        return plain(self, inputs, training=training, mask=mask)

    with monkeypatch.context() as patch:
        patch.setattr(layers.BatchNormalization, "call", spy)
        model(IMAGES, training=False)
    return {layer: np.concatenate(values) for layer, values in seen.items()}


BATCHES = {kind: [None] for kind in NETWORKS} | {
    kind: [None, 5] for kind in ("nested", "axis 1", "shared layers")
}


@pytest.mark.parametrize(
    ("kind", "size"),
    [(kind, size) for kind, sizes in BATCHES.items() for size in sizes],
)
def test_recalibrated_statistics_are_those_of_each_layers_inputs(
    kind, size, monkeypatch
):
    model = built(kind)
    recalibration.Recalibrator(model, IMAGES, size)()
    seen = inputs_by_layer(model, monkeypatch)
    assert len(seen) >= 2
    for layer, values in seen.items():
        mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        deviation = values.std(axis=0)
        np.testing.assert_allclose(
            mean, values.mean(axis=0), atol=3e-5 * deviation.max()
        )
        np.testing.assert_allclose(variance, values.var(axis=0), rtol=1e-4)


@pytest.mark.parametrize("size", [None, 5])
def test_recalibration_keeps_the_variance_of_channels_with_a_large_mean(size):
    inputs = keras.Input((people.SIDE, people.SIDE, 3))
    norm = layers.BatchNormalization(synchronized=True)
    model = keras.Model(inputs, norm(inputs))
    images = 1000 + np.random.default_rng(0).normal(size=IMAGES.shape).astype("float32")
    recalibration.Recalibrator(model, images, size)()
    exact = images.astype("float64").var(axis=(0, 1, 2))
    np.testing.assert_allclose(norm.moving_variance.numpy(), exact, rtol=1e-3)


class Block(layers.Layer):
    """A layer of the user's own with a batch normalization inside."""

    def build(self, shape):
        self.conv = layers.Conv2D(4, 3, padding="same", name="conv")
        self.norm = layers.BatchNormalization(name="norm")
        self.conv.build(shape)
        self.norm.build((*shape[:-1], 4))

    def call(self, inputs, training=None):
        return self.norm(self.conv(inputs), training=training)


def test_normalizations_inside_layers_are_re_estimated_and_refused_on_devices(
    monkeypatch,
):
    inputs = keras.Input((people.SIDE, people.SIDE, 3))
    model = keras.Model(inputs, Block(name="second")(Block(name="first")(inputs)))
    recalibration.Recalibrator(model, IMAGES)()
    seen = inputs_by_layer(model, monkeypatch)
    assert len(seen) == 2
    for layer, values in seen.items():
        variance = layer.moving_variance.numpy()
        np.testing.assert_allclose(variance, values.var(axis=0), rtol=1e-4)
    with pytest.raises(InputError, match="'first/norm' is inside .*--strategy=none"):
        fusion._check_synchronized(model, set())


# --- going on after an interruption


def random_layers():
    """Every kind of layer that draws, one of them in a network inside the network."""
    inner = keras.Input((people.SIDE, people.SIDE, 3))
    noise = layers.SpatialDropout2D(0.3)(layers.GaussianNoise(0.2)(inner))
    inputs = keras.Input((people.SIDE, people.SIDE, 3))
    x = layers.RandomContrast(0.2)(inputs)
    x = people.own_names(middle=layers.Dropout(0.5))(keras.Model(inner, noise)(x))
    return keras.Model(inputs, layers.Conv2D(3, 1)(x))


class Stopped(Exception):
    pass


def stop(step, text):
    if step == 3:  # the checkpoint is of step 2
        raise Stopped


def test_a_training_with_random_layers_goes_on_bit_for_bit(scenes, tmp_path):
    keras.utils.set_random_seed(0)
    random_layers().save(tmp_path / "own.keras")
    model_spec = ModelSpec(model=str(tmp_path / "own.keras"))
    data_spec = DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16))
    through, resumed, cache = tmp_path / "through", tmp_path / "resumed", Cache()
    training.train(model_spec, data_spec, TRAIN, through, cache=cache)
    with pytest.raises(Stopped):
        training.train(model_spec, data_spec, TRAIN, resumed, report=stop, cache=cache)
    training.train(model_spec, data_spec, TRAIN, resumed)
    one, two = (
        saving.load(out_dir / "last.keras", optimizer=True)
        for out_dir in (through, resumed)
    )
    assert len(saving.seed_states(one)) == 4
    pairs = zip(
        [*one.variables, *one.optimizer.variables],
        [*two.variables, *two.optimizer.variables],
        strict=True,
    )
    for first, second in pairs:
        np.testing.assert_array_equal(first.numpy(), second.numpy(), first.path)
    assert transplant.info(through / "last.keras")["checked"]


def test_the_checkpoint_of_a_pspnet_holds_the_state_of_its_dropout(tmp_path):
    model = models.pspnet((16, 16), width=2, encoder="small")
    model.compile("sgd")
    (state,) = saving.seed_states(model)
    state.assign([7, 5])
    saving.save(model, tmp_path / "last.keras", random_states=True)
    (found,) = saving.seed_states(saving.load(tmp_path / "last.keras", optimizer=True))
    assert found.numpy().tolist() == [7, 5]


def test_a_file_without_random_states_says_so(tmp_path, caplog):
    model = people.build("dropout")
    model.compile("sgd")
    saving.save(model, tmp_path / "old.keras")
    saving.load(tmp_path / "old.keras", optimizer=True)
    assert "other draws" in caplog.text


@pytest.fixture(scope="module")
def split(scenes):
    spec = DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16))
    return data.load(spec, "train")


def test_fine_tuning_draws_the_same_dropout_in_every_call(split):
    model = people.build("dropout")
    start = model.get_weights()
    tune = repairs.FineTuner(model, split, TrainSpec(batch_size=4), steps=2)
    tune()
    first = model.get_weights()
    model.set_weights(start)
    tune()
    for one, two in zip(first, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


# --- tensors that a Normalization layer derives from its variables


def test_compiled_functions_follow_the_statistics_of_a_normalization(split):
    model, donor = people.build("Normalization"), people.build("Normalization")
    norm = donor.get_layer("adapted")
    norm.adapt(3 * IMAGES + 1)
    evaluate = evaluation.Evaluator(model, split, "segmentation", sweeping=True)
    before = model.predict(IMAGES, verbose=0)
    answers = [before], [evaluate().per_image]
    plan = transplant.plan(donor, model, layers=["adapted"])
    displaced = transplant.apply(plan, donor, model)
    expected = np.asarray(model(IMAGES))
    np.testing.assert_array_equal(
        np.asarray(norm(IMAGES)), model.get_layer("adapted")(IMAGES)
    )
    assert np.abs(expected - before).max() > 1e-2
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), expected, atol=1e-5)
    fresh = evaluation.Evaluator(model, split, "segmentation")
    np.testing.assert_array_equal(evaluate().per_image, fresh().per_image)
    transplant.undo(displaced, model)
    np.testing.assert_allclose(
        model.predict(IMAGES, verbose=0), answers[0][0], atol=1e-6
    )
    np.testing.assert_array_equal(evaluate().per_image, answers[1][0])
    model.set_weights(list(donor.get_weights()))  # by Keras alone
    assert transplant.refresh(model) == 1
    np.testing.assert_allclose(
        model.predict(IMAGES, verbose=0), donor(IMAGES), atol=1e-5
    )


def test_a_compiled_training_step_follows_the_statistics_of_a_normalization():
    norm = layers.Normalization()
    norm.adapt(IMAGES)
    inputs = keras.Input((people.SIDE, people.SIDE, 3))
    model = keras.Model(inputs, layers.Conv2D(3, 1)(norm(inputs)))
    step = fusion.fused(model)
    step.compile(keras.optimizers.SGD(0.0), "mse")
    loss = step.train_on_batch(IMAGES, IMAGES)
    assert step.train_on_batch(IMAGES, IMAGES) == pytest.approx(loss, rel=1e-6)
    norm.adapt_variance.assign(4 * norm.adapt_variance)
    assert step.train_on_batch(IMAGES, IMAGES) != pytest.approx(loss, rel=1e-3)
