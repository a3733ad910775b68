"""Trains a network of a study, and again where that failed: a rule that the study declares.

retrials.train(specs, network, out_dir, report)
"""

import dataclasses
import pathlib
import shutil

from tfreuse import files, training
from tfreuse.specs import TrainSpec
from tfreuse.study.design import Network, Specs

# Between the seeds of the order of images of a network and of its retrials; `design` has the
# smaller distances.
_FAR = 10_000


def train(
    specs: Specs, network: Network, out_dir: pathlib.Path, report: training.Report
) -> None:
    """Trains a network, up to --retrials times again while it fails.

    A training has failed if its best validation metric is less than --minimum above the floor. A
    retrial has the same initial values, which linked networks and the control "initial" share, and
    another order of images. The first that has not failed takes the network's place; where all
    failed the first training stays. The test metric plays no part.

    Trains in `out_dir`, and again in `out_dir/retrial-N`. Where a network was trained again,
    `metrics.json` has `trainings`: how far above the floor each was in validation, in order.
    """
    above: list[float] = []
    for number in range(specs.study.retrials + 1):
        folder = out_dir / f"retrial-{number}" if number else out_dir
        metrics = training.train(
            network.model,
            specs.data,
            _settings(network, number),
            folder,
            report=report,
        )
        if "trainings" in metrics:
            return  # of an earlier run
        history = files.read_json(folder / "history.json")
        above.append(max(row["value"] for row in history) - metrics["floor"])
        if above[-1] >= specs.study.minimum:
            break
    if len(above) == 1:
        return
    if above[-1] >= specs.study.minimum:
        with files.replacing(out_dir / "model.keras") as temporary:
            shutil.copyfile(folder / "model.keras", temporary)
    else:
        metrics = files.read_json(out_dir / "metrics.json")
    files.write_json(out_dir / "metrics.json", metrics | {"trainings": above})


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
