"""Trains a network of a study, and again where that failed: a rule that the study declares.

retrials.train(specs, network, out_dir, report)
"""

import dataclasses
import functools
import pathlib
import shutil

import keras

from tfreuse import files, training
from tfreuse.models import saving
from tfreuse.runners import Cache
from tfreuse.specs import TrainSpec
from tfreuse.study.design import Network, Specs
from tfreuse.study.donors import as_input, first_images
from tfreuse.training import evaluation, recalibration

# Between the seeds of the order of images of a network and of its retrials; `design` has the
# smaller distances.
_FAR = 10_000


def train(
    specs: Specs,
    network: Network,
    out_dir: pathlib.Path,
    report: training.Report,
    cache: Cache | None = None,
) -> None:
    """Trains a network, up to --retrials times again while it fails.

    A training has failed if `above_floor` is less than --minimum. A retrial has the same initial
    values, which linked networks and the control "initial" share, and another order of images. The
    first that has not failed takes the network's place, with its networks of --donor_updates;
    where all failed the first training stays.
    The test metric plays no part.

    Trains in `out_dir`, and again in `out_dir/retrial-N`. Where a network was trained again,
    `metrics.json` has `trainings`: how far above the floor each was in validation, in order.

    A `cache` shares data and traced functions with other trainings of this process.
    """
    cache = cache or Cache()
    judged = out_dir / "trainings.json"  # written before a model takes another's place
    above: list[float] = files.read_json(judged) if judged.exists() else []
    for number in range(specs.study.retrials + 1):
        folder = out_dir / f"retrial-{number}" if number else out_dir
        metrics = training.train(
            network.model,
            network.data(specs.data),
            _settings(network, number),
            folder,
            keep=specs.ages(network),
            report=functools.partial(_report, report, number),
            cache=cache,
        )
        if "trainings" in metrics or not specs.study.retrials:
            return  # an earlier run ended this, or the study has no such rule
        if number == len(above):
            above.append(above_floor(specs, network, folder, cache))
            files.write_json(judged, above)
        if above[number] >= specs.study.minimum:
            break
    if len(above) == 1:
        return
    if above[-1] >= specs.study.minimum:
        ages = [training.kept_path(folder, age).name for age in specs.ages(network)]
        for name in (*ages, "model.keras"):
            with files.replacing(out_dir / name) as temporary:
                shutil.copyfile(folder / name, temporary)
    else:
        metrics = files.read_json(out_dir / "metrics.json")
    files.write_json(out_dir / "metrics.json", metrics | {"trainings": above})


def _report(report: training.Report, number: int, step: int, text: str) -> None:
    """Reports a step, and the retrial that it is of, whose steps begin at 1 again."""
    report(step, f"retrial {number}, {text}" if number else text)


def above_floor(
    specs: Specs, network: Network, folder: pathlib.Path, cache: Cache
) -> float:
    """Returns how far the trained network is above the floor on the validation split.

    Its moving statistics are re-estimated first, as before its arms are measured: those of a short
    training lag behind its weights.
    """
    spec, data = training.seedless(network.train), network.data(specs.data)
    path = folder / "model.keras"
    key = (data, network.model, spec, specs.study.calibration_examples)

    def judge(
        model: keras.Model,
    ) -> tuple[recalibration.Recalibrator, evaluation.Evaluator]:
        train, validation = (
            training.split(data, name, spec, cache) for name in ("train", "val")
        )
        images = first_images(train, specs.study.calibration_examples)
        inputs = as_input(images, spec.corruption)
        return recalibration.Recalibrator(model, inputs), evaluation.Evaluator(
            model, validation, spec.task, corruption=spec.corruption
        )

    recalibrate, evaluate = saving.load_shared(cache, "judge", key, path, judge)
    recalibrate()
    counts = evaluate()
    return counts.value - counts.floor


def _settings(network: Network, number: int) -> TrainSpec:
    """Returns the settings of the network's training, or of one of its retrials."""
    spec = network.train
    if not number:
        return spec
    model = spec.initial_model
    if model and not pathlib.Path(model).is_absolute():
        model = f"../{model}"  # the retrial's folder lies in that of the network
    return dataclasses.replace(
        spec,
        seed=spec.seed + number * _FAR,
        initial_seed=network.first_seed,
        initial_model=model,
    )
