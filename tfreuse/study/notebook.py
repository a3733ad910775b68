"""Measures networks that exist from Python: `tfreuse.measure`.

    measured = tfreuse.measure("donor.pth", model, images, labels)
    measured.rows        # a dict an arm: pandas.DataFrame(measured.rows)
    measured             # in a notebook: the network and the heat maps

The arms are those of `tools/study.py --recipient --donors`, measured in this process.
"""

import hashlib
import os
import pathlib
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfreuse import files, progress, records, rundir
from tfreuse.data import held
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.report.measured import Measured
from tfreuse.runners import Cache, lease
from tfreuse.specs import DataSpec, GivenSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.study import given, measuring, reading
from tfreuse.study.design import Specs

Network = keras.Model | str | os.PathLike


def measure(
    donor: Network | Sequence[Network],
    recipient: Network | Sequence[Network],
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    sites: Sequence[str] = ("stage", "all"),
    groups: Sequence[str] = StudySpec.groups,
    controls: Sequence[str] = StudySpec.controls,
    repairs: Sequence[str] = StudySpec.repairs,
    layers: Sequence[str] = ("*",),
    calibration: np.ndarray | None = None,
    ignore_label: int = -1,
    out_dir: str | os.PathLike | None = None,
    seed: int = 0,
    show_progress: bool = True,
    **options: Any,
) -> Measured:
    """Measures the loss of a trained network with a donor's parameters, group by group.

    Nothing is trained, and the networks that are given stay as they are.

    Args:
        donor: a live model, or the path of a file that `tfreuse.transplant` reads. Several, as
            many as recipients, are pairs that count as seeds.
        recipient: a functional model or a `.keras` file, from images to a value of every pixel.
        images: test images [N, H, W, C] as the recipient takes them; they are not scaled.
        labels: classes of the images' pixels, int [N, H, W]; None: the recipient is an
            auto-encoder, whose output is compared with its input.
        sites, groups, controls, repairs: the places, roles, donors and repairs of the arms; see
            `tfreuse.specs.StudySpec`.
        layers: patterns of the recipient's layers that take parameters; "!" excludes.
        calibration: images [M, H, W, C] without labels, on which the repair recalibration
            re-estimates statistics, and gains of auto-encoders are fitted; None: `images`.
        ignore_label: label of pixels that do not count; -1: none.
        out_dir: directory of the study, for its report and to go on after an interruption;
            None: a temporary one.
        seed: of random controls.
        show_progress: print the progress to stderr.
        options: more fields of `StudySpec`, such as draws, strengths or margin.

    Returns:
        the arms, with intervals over images.

    Raises:
        InputError: arrays, networks or settings do not fit; the message says which.
    """
    study = StudySpec(
        sites=tuple(sites),
        groups=tuple(groups),
        controls=tuple(controls),
        repairs=tuple(repairs),
        **{"calibration_examples": len(images)} | options,
    )
    if "fine_tuning" in study.repairs:
        raise InputError(
            "repairs: fine_tuning needs labelled training images; leave it out, or give folders "
            "of images to tools/study.py --recipient."
        )
    folder = pathlib.Path(out_dir or tempfile.mkdtemp(prefix="tfreuse-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    result = Measured(folder)
    if out_dir is None:
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    with lease.hold(lease.LocalLeaseFile(folder / "driver.lease"), "this study"):
        networks = _networks(donor, recipient, folder / "given")
        task = "autoencoder" if labels is None else "segmentation"
        networks = {**networks, "task": task, "layers": tuple(layers)}
        settings = given.settings(
            GivenSpec(**networks), study, ModelSpec(), TrainSpec(seed=seed), {}
        )
        classes = reading.channels(settings["given"].files[0])
        arrays = images, labels, images if calibration is None else calibration
        data_spec, splits = _data(*arrays, classes, ignore_label)
        with held.holding(data_spec, splits):
            _measure(Specs(data=data_spec, **settings), folder, show_progress)
    return result


def _networks(
    donors: Network | Sequence[Network],
    recipients: Network | Sequence[Network],
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Saves live models to the folder; returns the fields of GivenSpec that name the files."""
    if not isinstance(donors, list | tuple) or not isinstance(recipients, list | tuple):
        return {
            "recipient": _file(recipients, folder / "recipient.keras"),
            "donors": (_file(donors, folder / "donor.keras"),),
        }
    if len(donors) != len(recipients):
        raise InputError(
            f"donors and recipients are pairs; got {len(donors)} donors and {len(recipients)} "
            "recipients."
        )
    pairs = [
        [
            _file(recipient, folder / f"recipient_{number}.keras"),
            _file(donor, folder / f"donor_{number}.keras"),
        ]
        for number, (donor, recipient) in enumerate(zip(donors, recipients))
    ]
    files.write_json(folder / "pairs.json", pairs)
    return {"pairs": str(folder / "pairs.json")}


def _file(network: Network, path: pathlib.Path) -> str:
    """Returns the path of a network; a live model is saved first."""
    if isinstance(network, str | os.PathLike):
        return os.fspath(network)
    if not isinstance(network, keras.Model):
        raise InputError(
            "donor and recipient are a keras.Model or the path of a model file; got a "
            f"{type(network).__name__}."
        )
    if not getattr(network, "inputs", None):
        raise InputError(
            f"{path.stem} is a subclassed or unbuilt model ({type(network).__name__}); its graph of "
            "layers is needed: make it by keras.Model(inputs, outputs)."
        )
    saving.save(network, path)
    return str(path)


def _data(
    images: np.ndarray,
    labels: np.ndarray | None,
    calibration: np.ndarray,
    classes: int,
    ignore_label: int,
) -> tuple[DataSpec, dict[str, Any]]:
    """Checks the arrays; returns a data set of them, named by their digest, and its splits."""
    images, calibration = (np.asarray(a, np.float32) for a in (images, calibration))
    if images.ndim != 4 or not len(images):
        raise InputError(
            f"images are an array [N, H, W, C]; got the shape {images.shape}."
        )
    if calibration.shape[1:] != images.shape[1:] or not len(calibration):
        raise InputError(
            f"calibration images are [M, {', '.join(map(str, images.shape[1:]))}] as the images; "
            f"got the shape {calibration.shape}."
        )
    if labels is not None:
        labels = np.asarray(labels)
        _check_labels(labels, images.shape[:3], classes, ignore_label)
        labels = labels.astype(np.int32)
    digest = hashlib.sha256()
    for array in (images, calibration, labels):
        if array is not None:
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
    spec = DataSpec(
        dataset=held.ARRAYS,
        data_dir=digest.hexdigest(),
        image_size=images.shape[1:3],
        channels=images.shape[3],
        num_classes=0 if labels is None else classes,
        ignore_label=ignore_label,
    )
    test = held.split("test", images, labels, spec.num_classes, ignore_label)
    return spec, {"train": held.split("train", calibration), "test": test}


def _check_labels(
    labels: np.ndarray, shape: tuple[int, ...], classes: int, ignore_label: int
) -> None:
    """Raises InputError unless the labels are classes of the recipient."""
    if labels.shape != shape or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels are whole numbers of the shape {shape}, a class a pixel; got {labels.dtype} "
            f"of the shape {labels.shape}."
        )
    counted = labels[labels != ignore_label]
    if counted.size and not 0 <= counted.min() <= counted.max() < classes:
        raise InputError(
            f"the recipient has {classes} classes, 0 to {classes - 1}, and the labels are "
            f"{counted.min()} to {counted.max()}; give ignore_label= for pixels without a class."
        )


def _measure(specs: Specs, folder: pathlib.Path, show_progress: bool) -> None:
    """Checks the networks, measures the arms that have no records, and writes study.json."""
    reading.check(specs)
    content = rundir.claim(folder / "study.json", specs.named())
    for network in specs.networks().values():
        path = folder / "models" / network.name
        reading.read(specs, network, path)
        metrics = files.read_json(path / "metrics.json")
        content.setdefault("networks", {})[network.name] = metrics
    blocks = specs.blocks()
    with records.Log(folder / "records.jsonl") as log:
        output = _Output(log, len(blocks), show_progress)
        for block in blocks:
            measuring.measure_block(output, block, folder / "models")
            output.done += 1
        output.close()
    for name, values in output.annotations.items():
        content[name] = content.get(name, {}) | values
    files.write_json(folder / "study.json", content)


class _Output:
    """Writes records and shows progress, as `runners.unit.Output` does for a worker."""

    def __init__(self, log: records.Log, blocks: int, show_progress: bool) -> None:
        self._log, self.done, self._recorded = log, 0, False
        self._display = progress.Display(blocks) if show_progress else None
        self.keys = frozenset(record.key for record in log.records)
        self.annotations: dict[str, dict] = {}
        self.cache = Cache()

    def record(self, record: records.Record, per_image: np.ndarray) -> None:
        self._log.append(record, per_image)
        self._recorded = True

    def progress(self, share: float, text: str) -> None:
        if self._display:
            if not self._recorded:  # so far by an earlier call
                self._display.done_before = self.done + share
            self._display.update(self.done + share, text)

    def annotate(self, name: str, value: dict) -> None:
        self.annotations.setdefault(name, {}).update(value)

    def close(self) -> None:
        if self._display:
            self._display.close()
