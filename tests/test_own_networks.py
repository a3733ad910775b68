"""Recipes, label curves and the advisor with the networks that users bring."""

import dataclasses
import functools

import commands
import keras
import numpy as np
import people
import pytest

from tfreuse import advisor, data, models, study, transplant
from tfreuse.advisor import schedule, trials
from tfreuse.errors import InputError
from tfreuse.export.network import Network
from tfreuse.few_labels import cost, fitting, freezing
from tfreuse.few_labels.recipes import CATALOGUE, Recipe
from tfreuse.specs import DataSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.specs.advice import AdviceSpec
from tfreuse.specs.labels import LabelSpec
from tfreuse.study import checks, labels, treatments
from tfreuse.training import initial

ADVISED = {
    name for name, recipe in CATALOGUE.items() if recipe.advised and recipe.needs_donor
}

STATS = ("moving_mean", "moving_variance")
# By hand: the layers with parameters up to the smallest features, and the head.
ENCODER = {"one_conv", "one_norm", "two_conv", "two_norm"}
HEAD = "head_segmentation_conv"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Writes the network of a kind to a file, once; returns its ModelSpec."""
    root = tmp_path_factory.mktemp("own")

    @functools.cache
    def written(kind):
        path = root / f"{kind.replace(' ', '_')}.keras"
        people.build(kind).save(path)
        return ModelSpec(model=str(path))

    return written


@pytest.fixture(scope="module")
def split():
    return data.load(DataSpec(image_size=(16, 16), train_examples=6), "train")


def fitter_of(spec, split):
    images = fitting.unit_images(split)
    donor = models.build(spec, task="autoencoder", num_classes=0, seed=9)
    build = functools.partial(
        models.build, spec, task="segmentation", num_classes=split.num_classes
    )
    train = TrainSpec(batch_size=3, learning_rate=0.01, warmup=0.0)
    return fitting.Fitter(donor, lambda seed: build(seed=seed), images, train)


def layers_of(plan):
    return {entry.recipient.layer for entry in plan.copies}


@pytest.mark.parametrize("kind", people.NETWORKS)
def test_every_recipe_takes_and_trains_exactly_its_layers(kind, files, split):
    fitter = fitter_of(files(kind), split)
    model = fitter.model
    everything = {layer.name for layer in model.layers if layer.weights}
    stages = freezing.stages(model)
    for name, recipe in CATALOGUE.items():
        if name == "prefix" and len(stages) < 2:
            with pytest.raises(
                InputError, match="takes more stages than the network's"
            ):
                fitter.plan(recipe)
            continue
        assert 0 < cost.step_cost(recipe, model) <= 1
        plan = fitter.plan(recipe)
        if plan and recipe.groups == ("all",):
            takes = everything - {HEAD}
            if recipe.takes != "all":
                count = (
                    2
                    if recipe.takes == "prefix:2"
                    else len(freezing.stage_names(model, "encoder"))
                )
                takes = {n for names in list(stages.values())[:count] for n in names}
            assert layers_of(plan) == takes, name
    head = freezing.trained_variables(model, "head")
    assert {id(v) for v in head} == {id(v) for v in model.get_layer(HEAD).weights}
    last = freezing.trained_variables(model, "stage:last")
    inside = [*list(stages.values())[-1], HEAD]
    trainable = [v for n in inside for v in model.get_layer(n).trainable_variables]
    assert {id(v) for v in last} == {id(v) for v in trainable}


def weighted_layers(model):
    """The layers with weights by name, those of nested networks in their place."""
    return {x.name: x for x in models.flattened(model).layers if x.weights}


@pytest.mark.parametrize("kind", people.NETWORKS)
def test_a_training_starts_from_a_networks_own_values_but_for_its_head(kind, files):
    spec = files(kind)
    model = models.build(spec, task="segmentation", num_classes=5, seed=1)
    fresh = model.get_layer(HEAD).get_weights()
    initial.take_values(spec.model, model)
    donor = weighted_layers(keras.models.load_model(spec.model))
    assert len(donor.keys() - weighted_layers(model).keys()) == 1  # its head
    for name, layer in weighted_layers(model).items():
        expected = fresh if name == HEAD else donor[name].get_weights()
        for value, right in zip(layer.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(value, right, name)


@pytest.mark.parametrize("kind", ["own names", "nested"])
def test_stages_are_those_of_the_study_and_the_encoder_ends_at_the_smallest_features(
    kind, files, split
):
    fitter = fitter_of(files(kind), split)
    assert layers_of(fitter.plan(CATALOGUE["encoder"])) == ENCODER
    first = Recipe("x", "prefix:1", ("all",), "all", "moving")
    assert layers_of(fitter.plan(first)) == {"one_conv", "one_norm"}
    assert treatments.skips(fitter.model) == [("encoder_1", "decoder_1")]
    spec = dataclasses.replace(files(kind), stages=("front=one*", "rest=*"))
    model = models.build(spec, task="segmentation", num_classes=3)
    assert freezing.stage_names(model, "encoder") == [
        "front"
    ]  # the rest has both halves


@pytest.mark.parametrize("kind", ["nested", "shared layers"])
def test_a_fit_changes_what_its_recipe_trains_and_re_estimates_the_rest(
    kind, files, split
):
    fitter = fitter_of(files(kind), split)
    recipe = CATALOGUE["head_only"]
    given = transplant.values(fitter.donor)
    sources = {e.recipient.path: e.donor.path for e in fitter.plan(recipe).copies}
    model = fitter(recipe, split, 2, seed=5)
    now = transplant.values(model)
    for variable in transplant.index(model):
        if variable.layer == HEAD:
            continue
        same = np.array_equal(now[variable.path], given[sources[variable.path]])
        assert same == (variable.role not in STATS), variable


def test_a_nested_network_computes_as_its_layers_in_place():
    nested = people.build("nested")
    flat = models.flattened(nested)
    images = people.images(2)
    np.testing.assert_array_equal(flat(images), nested(images))
    assert [v.path for v in transplant.index(flat)][:2] == ["one_conv/0", "one_conv/1"]
    names = [layer.name for layer in flat.layers if layer.weights]
    assert names[-2:] == ["body_out", "wrapped_out"] or names[-2:] == [
        "body_out",
        "out",
    ]


def test_networks_of_equal_layer_names_and_a_fixed_training_mode_are_flattened():
    def branch(name):
        x = keras.Input((8, 8, 3))
        y = keras.layers.BatchNormalization(name="norm")(x)
        return keras.Model(x, keras.layers.Conv2D(2, 1, name="conv")(y), name=name)

    images = keras.Input((8, 8, 3))
    branches = [branch("rgb"), branch("depth")]
    y = keras.layers.Add()([b(images, training=False) for b in branches])
    flat = models.flattened(keras.Model(images, keras.layers.Conv2D(2, 1)(y)))
    names = {layer.name for layer in flat.layers}
    assert {"rgb_norm", "rgb_conv", "depth_norm", "depth_conv"} <= names
    batch = 3 + people.images(4, 8)
    by_batch = flat(
        batch, training=True
    )  # a batch norm of fresh values needs its batch
    assert np.abs(np.asarray(by_batch - flat(batch, training=False))).max() > 0.1


class Block(keras.layers.Layer):
    """A layer of layers, which no graph shows."""

    def build(self, shape):
        self.conv = keras.layers.Conv2D(4, 3, padding="same", name="conv")
        self.norm = keras.layers.BatchNormalization(name="norm")
        self.conv.build(shape)
        self.norm.build((*shape[:-1], 4))

    def call(self, x, training=None):
        return self.norm(self.conv(x), training=training)


def test_layers_of_layers_are_taken_whole_and_not_by_recipes_that_fix_their_statistics():
    def build(seed=0):
        x = keras.Input((16, 16, 3))
        y = Block(name="block")(x)
        return keras.Model(x, keras.layers.Conv2D(5, 1, name=HEAD)(y))

    no_images = np.zeros((0, 16, 16, 3), np.float32)
    fitter = fitting.Fitter(build(), build, no_images, TrainSpec())
    head = freezing.trained_variables(fitter.model, "head")
    assert [v.path for v in head] == [f"{HEAD}/kernel", f"{HEAD}/bias"]
    paths = {e.recipient.path for e in fitter.plan(CATALOGUE["encoder"]).copies}
    whole = {f"block/conv/{i}" for i in range(2)} | {
        f"block/norm/{i}" for i in range(4)
    }
    assert paths == whole
    for name in ("encoder_frozen", "head_only"):
        with pytest.raises(
            InputError, match="block/norm is inside a layer of a class of"
        ):
            fitter.plan(CATALOGUE[name])


# --- recipes with an encoder of another library


def test_an_encoder_of_another_library_is_taken_and_nothing_else(split):
    donor = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    build = functools.partial(
        models.build,
        ModelSpec(encoder="keras.MobileNetV2", width=2),
        task="segmentation",
        num_classes=split.num_classes,
    )
    images = fitting.unit_images(split)
    fitter = fitting.Fitter(donor, lambda seed: build(seed=seed), images, TrainSpec())
    weighted = {layer.name for layer in donor.layers if layer.weights}
    recipient = {layer.name for layer in fitter.model.layers}
    for name in ("encoder", "encoder_frozen"):
        assert layers_of(fitter.plan(CATALOGUE[name])) == weighted & recipient
    with pytest.raises(InputError, match="decoder_4_a_conv"):
        fitter.plan(CATALOGUE["fine_tuned"])  # this donor has no decoder


# --- label curves and the advisor


def curves_of(spec, scenes, **options):
    return study.Specs(
        StudySpec(seeds=2, directions=(), calibration_examples=8),
        DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16)),
        spec,
        TrainSpec(steps=2, batch_size=4, validations=1),
        LabelSpec(
            label_counts=(4,), label_donors=("masked",), label_steps=2,
            **{"recipes": ("scratch", "prefix", "head_only")} | options,
        ),
    )  # fmt: skip


def test_a_label_curve_of_an_own_network_is_measured(files, scenes, tmp_path):
    specs = curves_of(files("nested"), scenes)
    checks.check(specs)
    curve = specs.curves()[0]
    (network,) = curve.donors.values()
    (tmp_path / network.name).mkdir()
    donor = models.build(network.model, task="autoencoder", num_classes=0, seed=1)
    donor.save(tmp_path / network.name / "model.keras")
    record = labels.measure_arm(labels.load(curve, tmp_path), "masked", "head_only", 4)
    assert record.labels == 4 and 0 < record.cost < 1


@pytest.mark.parametrize(
    "kind, options, told",
    [
        ("shared layers", {}, "--recipes: prefix: prefix:2 takes more stages"),
        ("own names", {"label_counts": (4, 99)}, "--label_counts: .*99.*32 images"),
    ],
)
def test_a_study_that_would_fail_after_its_trainings_is_refused_before(
    kind, options, told, files, scenes, tmp_path
):
    specs = curves_of(files(kind), scenes)
    specs = dataclasses.replace(
        specs, labels=dataclasses.replace(specs.labels, **options)
    )
    with pytest.raises(InputError, match=told):
        study.run(specs, tmp_path / "out")
    assert not (tmp_path / "out" / "study.json").exists()


def question(donor, scenes, size=16, num_classes=0, **options):
    spec = AdviceSpec(
        **{"donor": (str(donor),), "labels": 12, "steps": 2, "batch_size": 4} | options
    )
    return spec, DataSpec(
        dataset="folder",
        data_dir=str(scenes),
        image_size=(size, size),
        num_classes=num_classes,
    )


def test_the_advisor_answers_for_an_own_network_and_its_file_as_donor(
    files, scenes, tmp_path, monkeypatch
):
    monkeypatch.setattr(schedule, "LADDER", ((1.0, 1, 3),))
    path = files("nested").model
    asked = question(path, scenes, recipient=path)
    advice = advisor.run(*asked, ModelSpec(), tmp_path)
    assert set(advice["plans"]) == ADVISED
    model = keras.models.load_model(tmp_path / "model.keras")
    assert model.get_layer("one_conv") and model.output.shape[-1] == 3


def test_a_donor_of_unknown_training_gives_the_recipient_its_structure(
    files, scenes, tmp_path, monkeypatch
):
    def begun(*specs, **_):  # what a search begins with
        found.append(trials.Trials(*specs[:3]))
        raise InputError("the search begins")

    found, donor, own = [], tmp_path / "moved.keras", files("several outputs").model
    plan = transplant.plan(own, own, roles="stats")
    transplant.apply(plan, own, own, donor)  # a file that no training wrote
    monkeypatch.setattr(advisor, "run", begun)
    words = ["--dataset=folder", f"--data_dir={scenes}", "--image_size=16,16"]
    words += [f"--donor={donor}", f"--out_dir={tmp_path / 'advice'}"]
    done = commands.run("advise", *words)
    assert "the search begins" in done.stderr
    assert f"structure of the donor's file: --model={donor}" in done.stdout
    assert found[0].plans.keys() == ADVISED
    assert found[0].build(0).get_layer("fine_conv")


@pytest.mark.parametrize(
    "options, told",
    [
        ({"labels": 2}, "expected --labels=3 or more.*got 2 of 32"),
        ({"labels": 99}, "--labels=99 is more than the 32"),
        ({"size": 15}, "--recipient=.*15"),
        ({"num_classes": 4}, "--recipient=.* has 3 outputs, the labelled images 4"),
    ],
)
def test_what_the_advisor_cannot_do_is_refused_before_any_training(
    options, told, files, scenes, tmp_path
):
    path = files("own names").model
    asked = question(path, scenes, recipient=path, **options)
    with pytest.raises(InputError, match=told):
        advisor.run(*asked, ModelSpec(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_cannot_be_exported_is_refused_before_any_training(
    files, scenes, tmp_path, monkeypatch
):
    def refuse(model, task, statistics="stored"):
        raise InputError("cannot be exported")

    monkeypatch.setattr(Network, "of", refuse)
    spec = files("own names")
    asked = question(spec.model, scenes, recipient=spec.model)
    with pytest.raises(InputError, match="cannot be exported"):
        advisor.run(*asked, ModelSpec(), tmp_path / "advice")
    directions = StudySpec(seeds=2, directions=("autoencoder-to-segmentation",))
    specs = dataclasses.replace(curves_of(spec, scenes), study=directions)
    with pytest.raises(InputError, match="cannot be exported"):
        study.run(specs, tmp_path / "study")
    assert not (tmp_path / "advice").exists()
    assert not (tmp_path / "study" / "study.json").exists()
