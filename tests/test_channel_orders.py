"""Channels that move in the order of a score: planted features are found, the rest stays as it was."""

import dataclasses

import keras
import numpy as np
import planted
import pytest
from measured import records_of
from test_planted_donors import (
    CHANNELS,
    SIDE,
    STUDY,
    folder,
    network,
    second_differences,
)

from tfreuse import specs, study
from tfreuse.analysis import channels
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.study import recipient, workspace

assert folder  # a fixture
SPEC = dataclasses.replace(
    STUDY,
    seeds=2,
    groups=("all",),
    sites=("all", "channels"),
    controls=("self",),
    draws=3,
)
GOOD = [1, 3, 5, 7]  # channels that hold the recipient's features, at another size


def half(kernel, generator):
    """A donor whose good channels are far away, and whose others see noise: the brightness."""
    kernels = generator.normal(2, 0.5, kernel.shape)
    kernels[..., GOOD] = 5 * kernel[..., GOOD]
    return kernels


def measured(spec, folder, root, seed=0):
    """The workspace of a planted pair in `root`, and its records as they would be written."""
    data = specs.DataSpec(
        dataset="folder", data_dir=str(folder), image_size=(SIDE, SIDE)
    )
    every = study.Specs(spec, data, specs.ModelSpec(), specs.TrainSpec())
    block = every.blocks()[seed]
    generator = np.random.default_rng(block.seed)
    kernel = second_differences(generator)
    for part, kernels in (("recipient", kernel), ("transfer", half(kernel, generator))):
        task = "segmentation" if part == "recipient" else "autoencoder"
        path = root / block.parts[part].name / "model.keras"
        if not path.exists():
            saving.save(network(kernels, task), path)
    space = workspace.open_workspace(recipient.load(block, root))
    return space, records_of(space)


@pytest.fixture(scope="module")
def pairs(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    return [measured(SPEC, folder, root, seed) for seed in range(SPEC.seeds)]


@pytest.fixture(scope="module")
def rows(pairs):
    records = [record for _, of_pair in pairs for record in of_pair]
    (curves,) = channels.by_part(records).values()
    return channels.rows(curves, SPEC)


def of(rows, quantity, repair="none", site="all"):
    found = [r for r in rows if (r["quantity"], r["repair"]) == (quantity, repair)]
    return {r["order"]: r["mean"] for r in found if r["site"] == site}


def test_activations_find_the_half_that_carries_the_features(pairs, rows):
    for space, _ in pairs:
        arm = next(
            arm
            for arm in space.arms
            if (arm.order, arm.share) == ("activation", 0.5) and arm.site.name == "all"
        )
        chosen = space.orders.chosen(arm, space.recipient.donors.get("transfer"))
        assert chosen == dict.fromkeys(
            ("encoder_1_a_conv", "encoder_1_a_bn"), tuple(GOOD)
        )
    for repair in ("none", "recalibration"):
        area = of(rows, "area", repair)
        assert area["activation"] == max(area.values())
        assert area["activation"] > area["random"] + 0.05
        # these kernels are far from the recipient's, and the noise is close to them
        assert area["random"] > area["distance"] + 0.03
        excess = of(rows, "excess", repair)
        assert excess.keys() == {"activation", "distance", "gamma"}
        assert excess["activation"] > 0 > excess["distance"]
        gain = area["activation"] - area["random"]
        assert excess["activation"] == pytest.approx(gain)
    path = {
        r["share"]: r["mean"]
        for r in rows
        if (r["quantity"], r["order"], r["site"], r["repair"])
        == ("path", "activation", "all", "recalibration")
    }
    assert min(path[0.25], path[0.5]) > 0.99 > path[0.75]


def test_a_record_is_the_recipient_with_plain_slices_of_the_donor(pairs):
    space, records = pairs[0]
    opened = space.recipient
    donor = opened.donors.get("transfer")
    (record,) = (
        r
        for r in records
        if (r.order, r.share, r.site, r.repair) == ("gamma", 0.25, "all", "none")
    )
    # equal gammas: the first channels
    by_hand = keras.models.clone_model(opened.model)
    for variable, (path, value) in zip(
        by_hand.weights, opened.values.items(), strict=True
    ):
        value = np.array(value)
        if path.startswith("encoder"):
            value[..., :2] = donor.values[path][..., :2]
        variable.assign(value)
    assert record.parameters == 2 * (27 + 4)
    blocks = opened.block, opened.test, opened.images, opened.targets
    assert recipient.evaluator(by_hand, *blocks)().value == pytest.approx(record.after)
    assert record.key[-3:] == ("gamma", "0.25", "none")
    assert type(record).from_line(record.to_line()) == record


def test_without_channels_a_study_keeps_its_digest_and_its_records(
    pairs, folder, tmp_path_factory
):
    spec = dataclasses.replace(SPEC, sites=("all",))
    root = next(tmp_path_factory.getbasetemp().glob("pairs*"))  # the same networks
    _, alone = measured(spec, folder, root)
    whole = [record for record in pairs[0][1] if not record.order]

    def line(record):
        told = dataclasses.replace(record, study="", seconds=0.0, versions={})
        return told.to_line()

    # no line has a new field, and none depends on the channels measured beside it
    assert [*map(line, alone)] == [*map(line, whole)]
    assert not any('"order"' in record.to_line() for record in alone)
    # nor has the study, which would be another study then
    assert not {"order", "orders", "share", "shares"} & spec.to_json().keys()


def test_arms_are_each_order_at_each_share_and_every_draw_of_the_random_order(pairs):
    arms = [arm for arm in pairs[0][0].arms if arm.site.kind == "channels"]
    assert {arm.site.name for arm in arms} == {"all", "encoder_1"}
    assert len(arms) == 2 * (3 + SPEC.draws) * len(specs.SHARES)
    assert {arm.repairs for arm in arms} == {("none", "recalibration")}
    assert CHANNELS == 8


def test_the_area_is_the_mean_retention_on_the_way_and_draws_are_averaged_first():
    def along(order, *retentions, draw=0):
        place = {"site_kind": "channels", "group": "all", "order": order, "draw": draw}
        for share, retention in zip(specs.SHARES, retentions, strict=True):
            yield from planted.arm((retention, retention + 0.1), share=share, **place)

    records = [*along("activation", 0.8, 0.5, 0.2), *along("distance", 0.9, 0.9, -3)]
    records += [*along("random", 0.4, 0.2, 0), *along("random", 0.6, 0.4, 0.1, draw=1)]
    (curves,) = channels.by_part(records).values()
    rows = channels.rows(curves, SPEC)
    # trapezoids of a quarter, over three quarters: (1 + .8) / 2 + (.8 + .5) / 2 + (.5 + .2) / 2
    first = 1.9 / 3, (0.95 + 0.75 + 0.45) / 3
    random = (0.75 + 0.4 + 0.175) / 3, (0.8 + 0.5 + 0.275) / 3
    clipped = (0.95 + 0.9 + 0.45) / 3, (1 + 1 + 0.5) / 3  # -2.9 is 0, and 1.0 stays 1
    area, excess = of(rows, "area"), of(rows, "excess")
    assert area["activation"] == pytest.approx(np.mean(first))
    assert area["random"] == pytest.approx(np.mean(random))
    assert area["distance"] == pytest.approx(np.mean(clipped))
    difference = np.subtract(first, random)
    assert excess["activation"] == pytest.approx(difference.mean())
    assert {row["n"] for row in rows} == {2}
    missing = [r for r in records if r.share != 0.5]  # not measured yet
    (curves,) = channels.by_part(missing).values()
    assert {r["quantity"] for r in channels.rows(curves, SPEC)} == {"path"}
    with pytest.raises(InputError, match="got two"):
        channels.by_part([*records, records[0]])


def test_channels_alone_are_refused(folder):
    with pytest.raises(InputError, match="--sites=all,channels"):
        study.Specs(
            dataclasses.replace(SPEC, sites=("channels",)),
            specs.DataSpec(dataset="folder", data_dir=str(folder)),
            specs.ModelSpec(),
            specs.TrainSpec(),
        )
