"""The networks that a study trains, their seeds, and the networks of each block."""

import dataclasses
import pathlib
import re

import commands
import pytest

from tfreuse import study
from tfreuse.cli import study as cli_study
from tfreuse.errors import InputError
from tfreuse.specs import (
    ALL_DIRECTIONS,
    LINKS,
    TASKS,
    DataSpec,
    ModelSpec,
    StudySpec,
    TrainSpec,
)
from tfreuse.specs.labels import LabelSpec
from tfreuse.study import work

FLAGS = commands.run("study", "--helpfull").stdout.replace("[no]", "")
FLAGS = set(re.findall(r"^ +--(\w+):", FLAGS, flags=re.MULTILINE))


def _other(name):
    """Returns a value of a training flag that is not its default."""
    field = next(f for f in dataclasses.fields(TrainSpec) if f.name == name)
    choices, default = field.metadata["choices"], field.default
    if isinstance(default, tuple):
        return choices[:1]
    if choices:
        return next(choice for choice in choices if choice != default)
    return (
        (not default) if isinstance(default, bool) else type(default)(default * 2 + 3)
    )


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(TrainSpec)])
def test_every_training_flag_of_a_study_reaches_the_networks_that_it_fits(name):
    """Those that a study sets itself, network by network, are not among its flags."""
    if name in cli_study._VARIED:
        assert name not in FLAGS or name == "task"  # of a --recipient
        return
    assert name in FLAGS
    value = _other(name)
    design = study.Specs(
        StudySpec(
            directions=ALL_DIRECTIONS,
            links=LINKS,
            seeds=2,
            controls=("other_seed", "scrambled"),
        ),
        DataSpec(),
        ModelSpec(),
        TrainSpec(**{name: value}),
        LabelSpec(label_counts=(8,)),
    )
    trainings = [network.train for network in design.networks().values()]
    if name == "seed":
        assert {value + number for number in range(12)} <= {t.seed for t in trainings}
        return
    tasks = {"segmentation"} if name == "class_weights" else set(TASKS)
    reached = [train for train in trainings if getattr(train, name) == value]
    assert {train.task for train in reached} == tasks
    assert len(reached) == sum(train.task in tasks for train in trainings)
    if name != "steps":  # label curves have --label_steps
        assert getattr(design.curves()[0].train, name) == value


def specs(**changes):
    return study.Specs(StudySpec(**changes), DataSpec(), ModelSpec(), TrainSpec())


def parts(design, direction, link, seed=0, architecture="unet"):
    (block,) = (
        block
        for block in design.blocks()
        if (block.architecture, block.direction, block.link, block.seed)
        == (architecture, direction, link, seed)
    )
    return block.parts


TO_MASKS, TO_IMAGES = "autoencoder-to-segmentation", "segmentation-to-autoencoder"


def test_independent_networks_share_no_seed_and_every_block_names_trained_networks():
    design = specs(seeds=3, controls=("other_seed", "scrambled"))
    networks = design.networks()
    assert sorted(networks) == sorted(
        f"{kind}-{seed}"
        for kind in ("segmentation", "autoencoder", "scrambled")
        for seed in range(3)
    )
    assert len({network.first_seed for network in networks.values()}) == 9
    assert networks["scrambled-1"].train.corruption == "scramble"
    needed = {part.name for block in design.blocks() for part in block.parts.values()}
    assert needed == set(networks)


def test_donors_of_the_same_task_are_pairs_that_share_no_network():
    design = specs(seeds=5)
    donors = [
        parts(design, TO_MASKS, "independent", seed)["other_seed"].name
        for seed in range(5)
    ]
    assert donors == [f"segmentation-{seed}" for seed in (1, 0, 3, 2, 0)]


def test_linked_networks_start_from_the_same_values_and_see_another_order():
    design = specs(links=("same",))
    forward, back = parts(design, TO_MASKS, "same"), parts(design, TO_IMAGES, "same")
    assert forward["recipient"] == back["transfer"]
    assert forward["transfer"] == back["recipient"]
    recipient, donor, twin = (
        forward[name] for name in ("recipient", "transfer", "other_seed")
    )
    assert recipient.first_seed == donor.first_seed == twin.first_seed
    assert len({recipient.train.seed, donor.train.seed, twin.train.seed}) == 3
    assert twin.train.task == recipient.train.task
    assert twin.name != recipient.name


def test_seeds_of_a_study_are_a_promise():
    """Another seed would be another network, and a study begun earlier could not go on."""
    kinds = ("segmentation", "autoencoder")
    design = specs(seeds=2, links=("independent", "same", "sequential"))
    seeds = {
        name: (network.first_seed, network.train.seed)
        for name, network in design.networks().items()
    }
    for replicate in (0, 1):
        first = 6 * replicate  # six kinds of networks
        seed_of = {kind: first + 2 * number for number, kind in enumerate(kinds)}
        expected = {
            f"{kind}-{replicate}": (seed_of[kind], seed_of[kind]) for kind in kinds
        }
        follower = f"autoencoder-{replicate}-as-segmentation"
        expected[follower] = (first, seed_of["autoencoder"] + 1000)
        expected[f"{follower}-twin"] = (first, seed_of["autoencoder"] + 4000)
        expected[f"segmentation-{replicate}-twin"] = (first, first + 3000)
        for recipient, donor in (kinds, kinds[::-1]):
            seed = seed_of[recipient] + 2000
            name = f"{recipient}-{replicate}-after-{donor}"
            expected[name] = (seed, seed)
        for name, pair in expected.items():
            assert seeds.pop(name) == pair, name
    assert not seeds


def test_no_two_networks_of_a_block_see_their_images_in_the_same_order():
    design = specs(
        seeds=2,
        directions=ALL_DIRECTIONS,
        links=("independent", "same", "sequential"),
        controls=("other_seed", "scrambled"),
    )
    for block in design.blocks():
        seeds = [network.train.seed for network in block.parts.values()]
        assert len(set(seeds)) == len(seeds) == 4, block.name


def test_a_sequential_recipient_is_trained_on_from_its_donor():
    design = specs(links=("sequential",))
    forward = parts(design, TO_MASKS, "sequential")
    assert forward["recipient"].needs == forward["transfer"].name == "autoencoder-0"
    assert forward["recipient"].train.initial_model == "../autoencoder-0/model.keras"


def test_architectures_keep_apart_and_leave_out_what_they_do_not_have():
    design = specs(architectures=("unet:skips=false", "pspnet:width=16"), seeds=2)
    names = list(design.networks())
    assert "unet-skips-false-segmentation-0" in names
    models = {network.model for network in design.networks().values()}
    assert models == {
        ModelSpec(skips=False),
        ModelSpec(architecture="pspnet", width=16),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lenet", "one of unet, pspnet"),
        ("unet:deep=3", "expected OPTION=VALUE with one of width, .*; got 'deep=3'"),
        ("unet:width", "expected OPTION=VALUE .*; got 'width'"),
        ("unet:width=wide", "width takes a whole number; got 'wide'"),
        ("unet:skips=maybe", "skips takes true or false; got 'maybe'"),
        ("unet:width=0", "at least 1"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message):
        specs(architectures=(text,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strengths": (0.5,)}, "1 among them"),
        ({"strengths": (0.0, 1.0)}, "above 0"),
        ({"architectures": ("unet", "unet:depth=4")}, "the same network twice"),
        ({"architectures": ("pspnet:depth=3",)}, "one of width, .*; got 'depth=3'"),
        ({"links": ("same", "same")}, "--links names something twice"),
        ({"groups": ("kernels",)}, "'kernels' is unknown"),
        ({"donor_updates": (10, 10)}, "--donor_updates names something twice"),
        ({"sites": ()}, "--sites is empty: there is nothing to measure"),
        ({"donor_updates": (10, 2000)}, "below --steps=2000.*; got 2000"),
        ({"donor_updates": (-1,)}, "at least 0; got -1"),
    ],
)
def test_a_factor_that_cannot_be_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        specs(**changes)


def of_donors(*donors):
    return study.Specs(
        StudySpec(seeds=2, directions=()), DataSpec(), ModelSpec(), TrainSpec(),
        LabelSpec(label_counts=(8,), label_donors=donors),
    )  # fmt: skip


def test_donors_of_label_curves_differ_in_their_options_alone():
    text = "masked:skips=false:corruption=inpaint:augment=flip+zoom:unlabelled=all"
    first = of_donors("masked", text).curves()[0].donors
    plain, changed = first["masked"], first[text]
    assert changed.model == ModelSpec(skips=False)
    assert changed.train == dataclasses.replace(
        plain.train, corruption="inpaint", augment=("flip", "zoom"), unlabelled="all"
    )
    names = {network.name for network in first.values()}
    assert len(names) == 2 and all(re.fullmatch(r"[\w-]+-0", name) for name in names)


def test_a_donor_of_label_curves_can_learn_from_fewer_images():
    whole = of_donors("masked", "masked:train_examples=64")
    donors = whole.curves()[0].donors
    fewer = donors["masked:train_examples=64"]
    assert fewer.data(whole.data) == dataclasses.replace(whole.data, train_examples=64)
    assert donors["masked"].data(whole.data) == whole.data
    assert fewer.train == donors["masked"].train
    units = {unit.name: unit for unit in work.plan(whole, pathlib.Path())}
    assert units[fewer.unit].spec["data"]["train_examples"] == 64
    assert units[donors["masked"].unit].spec["data"]["train_examples"] == 0


def test_no_donor_is_trained_for_fits_from_scratch_alone():
    whole = of_donors("masked")
    alone = dataclasses.replace(whole.labels, recipes=("scratch",))
    assert whole.networks()
    assert not dataclasses.replace(whole, labels=alone).networks()


@pytest.mark.parametrize("count", [0, -1, 8, 9])
def test_a_donor_of_fewer_images_has_fewer_than_the_study(count):
    with pytest.raises(InputError, match=rf"takes 1 to 7, .* 8; got {count}"):
        study.Specs(
            StudySpec(seeds=2, directions=()), DataSpec(train_examples=8), ModelSpec(),
            TrainSpec(),
            LabelSpec(label_counts=(8,), label_donors=(f"masked:train_examples={count}",)),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("donors", "message"),
    [
        (("masked:train_examples=0",), "train_examples takes 1 or more; got 0"),
        (("masked:train_examples=8",), "fewer than the 16 of an .* add :batch_size=8"),
        (("masked:deep=3",), "--label_donors: expected OPTION=VALUE .*; got 'deep=3'"),
        (("masked:seed=3",), "got 'seed=3'"),  # the replicate's
        (("masked:width=wide",), "width takes a whole number; got 'wide'"),
        (("masked:augment=flip+spin",), "--augment takes one of .*; got 'spin'"),
        (("segmentation:corruption=mask",), "is for --task=autoencoder alone"),
        (("segmentation:unlabelled=all",), "is for --task=autoencoder alone"),
        (("pretrained:width=3",), "pretrained takes no options"),
        (("masked:warmup=1e-3", "masked:warmup=1e+3"), "of one name, but for signs"),
        (("masked", "masked:skips=true"), "the same donor twice"),
        (("masked:width=3:width=4",), "--label_donors gives width twice"),
        (
            ("masked:width=0",),
            "--label_donors=masked:width=0: --width takes at least 1",
        ),
    ],
)
def test_a_donor_of_label_curves_that_cannot_be_is_refused(donors, message):
    with pytest.raises(InputError, match=message):
        of_donors(*donors)


def test_the_kind_of_a_network_decides_its_training_alone():
    design = specs(directions=("masked-to-foreground", "denoising-to-segmentation"))
    trains = {name: network.train for name, network in design.networks().items()}
    plain = TrainSpec()
    for kind, changes in {
        "masked": {"task": "autoencoder", "corruption": "mask"},
        "denoising": {"task": "autoencoder", "corruption": "noise"},
        "foreground": {"labels": "foreground"},
        "segmentation": {},
    }.items():
        train = trains[f"{kind}-0"]
        assert train == dataclasses.replace(plain, seed=train.seed, **changes)


def test_a_unit_waits_for_the_network_that_its_own_is_trained_on_from(tmp_path):
    units = {
        unit.name: unit for unit in study.plan(specs(links=("sequential",)), tmp_path)
    }
    after = units["train segmentation-0-after-autoencoder"]
    assert after.needs == ("train autoencoder-0",)
    block = units["measure autoencoder-to-segmentation-sequential-0"]
    assert after.name in block.needs
    assert "train autoencoder-0" in block.needs
