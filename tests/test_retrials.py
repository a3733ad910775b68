"""A study trains a network that failed again, by the rule that it declared."""

import pytest

from tfreuse import files, models, study
from tfreuse.models import saving
from tfreuse.runners import Cache
from tfreuse.specs import DataSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.study import retrials

FLOOR = 0.2  # and --minimum is 0.1


@pytest.fixture
def trainings(monkeypatch):
    """Replaces a training by one whose validation metric is the next of `values`."""
    values, begun = [], []

    def train(model, data, spec, folder, *, keep, report, cache):
        if (folder / "metrics.json").exists():
            return files.read_json(folder / "metrics.json")
        begun.append(spec)
        report(1, "")
        folder.mkdir(parents=True)
        value = values.pop(0)
        for name in ("model", *(f"update-{age}" for age in keep)):
            (folder / f"{name}.keras").write_text(f"{value}")
        # a test metric that would say otherwise
        metrics = {"mean_iou": 1 - value, "floor": FLOOR}
        files.write_json(folder / "metrics.json", metrics)
        return metrics

    def above_floor(specs, network, folder, cache):
        return float((folder / "model.keras").read_text()) - FLOOR

    monkeypatch.setattr(retrials.training, "train", train)
    monkeypatch.setattr(retrials, "above_floor", above_floor)
    return values, begun


def specs(retrials=2):
    spec = StudySpec(
        seeds=2, retrials=retrials, links=("sequential",), donor_updates=(0, 30)
    )
    return study.Specs(spec, DataSpec(), ModelSpec(), TrainSpec())


@pytest.mark.parametrize(
    ("values", "again", "kept"),
    [
        ([0.35], None, 0.35),  # 0.15 above the floor: not failed
        ([0.25, 0.5, 0.9], [0.05, 0.3], 0.5),
        ([0.25, 0.2, 0.4], [0.05, 0.0, 0.2], 0.4),
        ([0.25, 0.2, 0.29], [0.05, 0.0, 0.09], 0.25),  # all failed: the first stays
    ],
)
def test_the_first_training_that_does_not_fail_takes_the_networks_place(
    trainings, tmp_path, values, again, kept
):
    trainings[0][:] = values
    network, folder = specs().networks()["segmentation-1"], tmp_path / "network"
    for _ in range(2):  # the second run trains nothing
        retrials.train(specs(), network, folder, report=print)
        metrics = files.read_json(folder / "metrics.json")
        for name in ("model", "update-0", "update-30"):  # all of one training
            assert (folder / f"{name}.keras").read_text() == f"{kept}"
        assert metrics["mean_iou"] == 1 - kept
        assert metrics.get("trainings") == (again and pytest.approx(again))
        assert len(trainings[1]) == len(again or [0])
    if again and kept != values[0]:  # a kill between the model's copy and its metrics
        files.write_json(folder / "metrics.json", {"mean_iou": 0, "floor": FLOOR})
        retrials.train(specs(), network, folder, report=print)
        assert files.read_json(folder / "metrics.json") == metrics


def test_a_retrial_has_the_networks_initial_values_and_another_order(
    trainings, tmp_path
):
    trainings[0][:] = [0.0, 0.0, 0.0]
    networks = specs().networks()
    (name,) = (name for name in networks if name == "segmentation-1-after-autoencoder")
    retrials.train(specs(), networks[name], tmp_path / name, report=print)
    first, *others = trainings[1]
    assert first == networks[name].train
    assert first.initial_model == "../autoencoder-1/model.keras"
    for number, spec in enumerate(others, 1):
        assert spec.initial_seed == networks[name].first_seed
        assert spec.initial_model == "../../autoencoder-1/model.keras"
        assert spec.seed == first.seed + 10_000 * number
    seeds = {network.train.seed for network in networks.values()}
    assert not seeds & {spec.seed for spec in others}


def test_progress_says_which_retrial_a_step_is_of(trainings, tmp_path):
    trainings[0][:] = [0.0, 0.0, 0.5]
    network, lines = specs().networks()["segmentation-0"], []

    def report(step, text):
        lines.append(f"{text}step {step}")

    retrials.train(specs(), network, tmp_path / "network", report)
    assert lines == ["step 1", "retrial 1, step 1", "retrial 2, step 1"]


def test_without_the_rule_a_failed_network_stays(trainings, tmp_path):
    trainings[0][:] = [0.0]
    network = specs(0).networks()["segmentation-0"]
    retrials.train(specs(0), network, tmp_path / "network", report=print)
    assert len(trainings[1]) == 1


def test_a_failure_is_judged_with_statistics_that_fit(tmp_path):
    """Moving statistics of 0 and 1, as after a few steps, are no failure of the training."""
    size = DataSpec(image_size=(16, 16), train_examples=32)
    small = study.Specs(StudySpec(), size, ModelSpec(width=4, depth=1), TrainSpec())
    network = small.networks()["autoencoder-0"]
    values, cache = [], Cache()
    for lag in (False, True):
        model = models.build(network.model, task="autoencoder", num_classes=0, seed=0)
        for variable in model.non_trainable_variables:
            if lag and variable.name == "moving_mean":
                variable.assign_add(variable * 0 + 9)
        saving.save(model, tmp_path / "model.keras")
        values.append(retrials.above_floor(small, network, tmp_path, cache))
    assert values[0] == pytest.approx(values[1], abs=1e-4)


def test_the_rule_is_part_of_the_study_and_of_its_trainings(tmp_path):
    one, two = specs(0), specs(2)
    assert one.digest != two.digest
    keys = [
        {unit.key for unit in study.plan(each, tmp_path) if unit.kind == "train"}
        for each in (one, two)
    ]
    assert not keys[0] & keys[1]
