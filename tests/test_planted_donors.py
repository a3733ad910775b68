"""Donors whose features are known: each gets its reason, from the control's values to the report.

The recipient labels pixels by the direction of stripes: its kernels are second differences, at
which brightness is no matter, and its head adds up their sizes. Every donor is put into a
study's directory, transplanted, measured and judged by the same code as a study's own.
"""

import dataclasses
import types

import keras
import numpy as np
import planted
import pytest
from measured import records_of
from PIL import Image

from tfreuse import specs, study
from tfreuse.analysis import reasons
from tfreuse.analysis.arms import raw_r2
from tfreuse.models import saving
from tfreuse.records import Record, counts
from tfreuse.study import donors, measuring, recipient, workspace

SEEDS, SIDE, CHANNELS = 4, 16, 8
COPIES = 40
STUDY = specs.StudySpec(
    seeds=SEEDS,
    directions=(planted.TO_MASKS,),
    groups=("kernel", "all"),
    sites=("all",),
    controls=("self", "angle", "matched"),
    draws=2,
    calibration_examples=16,
)


def stripes(generator, size=SIDE):
    """An image of lying and of standing stripes, and its labels."""
    rows, columns = np.mgrid[:size, :size]
    mask = (columns + generator.integers(-3, 4) >= size // 2).astype(np.uint8)
    mask ^= generator.integers(0, 2, dtype=np.uint8)
    wave = np.where(mask, columns, rows) % 2 - 0.5
    image = generator.uniform(0.15, 0.85) + 0.2 * wave[..., None]
    image = image + generator.normal(0, 0.03, (size, size, 3))
    return (255 * image.clip(0, 1)).astype(np.uint8), mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, generator = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 2), ("test", 12)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            for kind, array in zip(
                ("images", "masks"), stripes(generator), strict=True
            ):
                Image.fromarray(array).save(root / split / kind / f"{number}.png")
    return root


def network(kernel, task, rectified=True):
    """A convolution, a batch normalization and a head; the statistics are re-estimated later."""
    inputs = keras.Input((SIDE, SIDE, 3))
    conv = keras.layers.Conv2D(
        CHANNELS, 3, padding="same", use_bias=False, name="encoder_1_a_conv"
    )
    norm = keras.layers.BatchNormalization(name="encoder_1_a_bn")
    classes = 2 if task == "segmentation" else 3
    head = keras.layers.Conv2D(classes, 3, padding="same", name=f"head_{task}_conv")
    features = norm(conv(inputs))
    features = keras.layers.ReLU()(features) if rectified else features
    model = keras.Model(inputs, head(features))
    conv.kernel.assign(kernel)
    if task == "segmentation":
        weights = np.zeros(head.kernel.shape)
        weights[:, :, 0::2, 0] = weights[:, :, 1::2, 1] = 1
        head.kernel.assign(weights)
    return model


def second_differences(generator):
    """Kernels [3, 3, 3, CHANNELS]: along columns (even channels) and rows, of both signs."""
    kernel = np.empty((3, 3, 3, CHANNELS))
    for channel in range(CHANNELS):
        line = np.outer([1, 1, 1], [1, -2, 1]) * (-1) ** (channel // 2)
        line = line.T if channel % 2 == 0 else line
        kernel[..., channel] = line[..., None] * generator.uniform(0.8, 1.2, 3)
    return kernel


def far(kernel, generator):
    """The recipient's features at quite other sizes: behind batch normalization the same."""
    return kernel * 30.0 ** generator.uniform(-1, 1, CHANNELS)


def close(kernel, generator):
    """A small step, all of it towards brightness, at which the recipient does not look."""
    step = np.ones_like(kernel) * generator.choice([-1, 1], CHANNELS)
    return kernel + 0.3 * step


def noise(kernel, generator):
    return generator.normal(0, kernel.std(), kernel.shape)


def tiny(kernel, generator):
    return kernel + generator.normal(0, 0.01, kernel.shape)


DONORS = {"far": far, "close": close, "noise": noise, "tiny": tiny}


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    """The records of each donor, of all seeds."""
    data = specs.DataSpec(
        dataset="folder", data_dir=str(folder), image_size=(SIDE, SIDE)
    )
    every = study.Specs(STUDY, data, specs.ModelSpec(), specs.TrainSpec())
    written = {name: [] for name in DONORS}
    for block in every.blocks():
        generator = np.random.default_rng(block.seed)
        root = tmp_path_factory.mktemp("models")
        kernel = second_differences(generator)
        parts = block.parts

        def save(part, model, root=root, parts=parts):
            saving.save(model, root / parts[part].name / "model.keras")

        save("recipient", network(kernel, "segmentation"))
        opened = recipient.load(block, root)
        space = workspace.open_workspace(opened)
        for name, plant in DONORS.items():
            save("transfer", network(plant(kernel, generator), "autoencoder"))
            own = donors.Donors(
                block, root, opened.model, opened.variables, opened.values,
                opened.digest, opened.images, opened.train,
            )  # fmt: skip
            written[name] += records_of(
                dataclasses.replace(
                    space, recipient=dataclasses.replace(opened, donors=own)
                )
            )
    return written


def judged(records, control="angle"):
    """The row that decides on each group, with random values of one control.

    The seeds are counted COPIES times: so many are needed to show that nothing is lost.
    """
    records = [
        dataclasses.replace(r, seed=r.seed + SEEDS * copy)
        for r in records
        if r.control in ("transfer", control)
        for copy in range(COPIES)
    ]
    rows = reasons.rows(planted.only_part(records), STUDY)
    return {row["group"]: row for row in rows if row["decisive"]}


@pytest.mark.parametrize("group", ["kernel", "all"])
@pytest.mark.parametrize(
    ("donor", "reason"),
    [
        ("far", "general features"),
        ("close", "worse than random"),
        ("noise", "neither"),
        ("tiny", "small difference"),
    ],
)
def test_a_donor_gets_the_reason_that_was_planted(measured, donor, reason, group):
    row = judged(measured[donor])[group]
    assert (row["reason"], row["repair"]) == (reason, "recalibration")
    assert (row["n"], row["draws"]) == (SEEDS * COPIES, STUDY.draws)


def test_a_control_of_distance_alone_would_take_noise_for_harm(measured):
    """It keeps most of the recipient's direction, of which noise has nothing."""
    row = judged(measured["noise"], "matched")["kernel"]
    assert row["reason"] == "worse than random"
    assert row["random_mean"] > 2 * judged(measured["noise"])["kernel"]["random_mean"]


def test_shared_features_lose_until_their_statistics_are_estimated(measured):
    records = [r for r in measured["far"] if r.control != "matched"]
    rows = reasons.rows(planted.only_part(records), STUDY)
    (row,) = (
        row for row in rows if (row["group"], row["repair"]) == ("kernel", "none")
    )
    assert not row["decisive"] and row["donor_mean"] < 0.9
    assert judged(records)["kernel"]["donor_mean"] > 0.99


def test_the_control_has_the_donors_distance_and_cosine(measured):
    for records in measured.values():
        by_arm = {(r.seed, r.control, r.draw, r.repair, r.group): r for r in records}
        for (seed, control, *arm), record in by_arm.items():
            if control == "angle" and record.group == "kernel":
                donor = by_arm[seed, "transfer", 0, *arm[1:]]
                for name in ("relative_distance", "cosine"):
                    value = getattr(record, name)
                    assert value == pytest.approx(getattr(donor, name), abs=1e-4)


def copying(pixels, gammas=1, shift=0.0):
    """An auto-encoder that gives back its input, with gammas and betas of another size."""
    generator = np.random.default_rng(1)
    mixing = generator.normal(size=(3, CHANNELS))
    model = network(np.zeros((3, 3, 3, CHANNELS)), "autoencoder", rectified=False)
    conv, norm, head = (layer for layer in model.layers if layer.weights)
    conv.kernel.assign(np.pad(mixing[None, None], ((1, 1), (1, 1), (0, 0), (0, 0))))
    inverse = np.linalg.pinv(mixing)[None, None]
    head.kernel.assign(np.pad(inverse, ((1, 1), (1, 1), (0, 0), (0, 0))))
    features = pixels @ mixing
    norm.gamma.assign(gammas * np.sqrt(features.var(axis=0) + norm.epsilon))
    norm.beta.assign(features.mean(axis=0) + shift)
    return model


@pytest.fixture(scope="module", params=[True, False])
def auto_encoder(request, folder, tmp_path_factory):
    """Whether outputs are fitted, and records of two donors' gammas and betas."""
    spec = dataclasses.replace(
        STUDY,
        directions=(planted.TO_IMAGES,),
        groups=("affine",),
        controls=("self",),
        repairs=("none",),
        fit_outputs=request.param,
    )
    data = specs.DataSpec(
        dataset="folder", data_dir=str(folder), image_size=(SIDE, SIDE)
    )
    every = study.Specs(spec, data, specs.ModelSpec(), specs.TrainSpec())
    block, root = every.blocks()[0], tmp_path_factory.mktemp("models")
    pixels = np.concatenate(
        [
            np.asarray(Image.open(path)).reshape(-1, 3) / 255
            for path in (folder / "train" / "images").iterdir()
        ]
    )
    path = {part: root / block.parts[part].name / "model.keras" for part in block.parts}
    saving.save(copying(pixels), path["recipient"])
    written = {}
    for name, gammas, shift in (
        ("larger", 5, 3.0),
        ("empty", 0, 3.0),
    ):
        saving.save(copying(pixels, gammas, shift), path["transfer"])
        output = types.SimpleNamespace(
            keys=frozenset(),
            record=lambda record, per_image, name=name: written.setdefault(
                (name, record.control), (record, per_image)
            ),
            progress=lambda share, text: None,
        )
        measuring.measure(output, workspace.open_workspace(recipient.load(block, root)))
    return request.param, written


def test_an_output_of_another_size_is_told_from_a_wrong_picture(auto_encoder):
    """R2 of the outputs as they are floors both donors at 0; what one shows is all there."""
    fitted, written = auto_encoder
    larger, empty = (written[name, "transfer"][0] for name in ("larger", "empty"))
    assert raw_r2(larger) < -10 and raw_r2(empty) < -10
    if fitted:
        assert larger.metric == "fitted_r2" and larger.retention > 0.99
        assert empty.retention < 0.01
        assert larger.before > 0.95  # the fit takes nothing from the recipient
    else:
        assert larger.metric == "r2"
        assert larger.retention < 0 and empty.retention < 0


def test_records_of_auto_encoders_hold_what_their_metric_is_computed_from(auto_encoder):
    for record, per_image in auto_encoder[1].values():
        counts.check(record, per_image)
        assert Record.from_line(record.to_line()) == record
        sums = record.counts
        assert record.after == pytest.approx(
            1 - sums["squared_error"] / sums["total_variation"]
        )
    (same, _) = auto_encoder[1]["larger", "self"]
    assert same.after == same.before
