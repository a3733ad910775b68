"""A synthetic study of any size: records and counts like those of a real study.

Two architectures, two directions, two links and six seeds, at sites, with groups, controls and
repairs: 10^5 records are 2,084 arms of each of 48 recipients.
"""

import hashlib
import itertools
import math
import pathlib
from collections.abc import Iterator

import numpy as np

from tfreuse import files, rundir, specs
from tfreuse.analysis import metrics
from tfreuse.records import Record

IMAGES, CLASSES, PIXELS = 128, 5, 64 * 64
SEEDS = 6
ARCHITECTURES = ("unet", "pspnet")
LINKS = ("independent", "same")
GROUPS = ("kernel", "bias", "affine", "stats", "all")
CONTROLS = ("transfer", "other_seed", "reinitialised", "matched")
REPAIRS = ("none", "recalibration", "permutation+recalibration")
_SITES = [
    ("all", "all", -1),
    *(("stage", f"encoder_{depth}", depth) for depth in range(9)),
    *(("layer", f"encoder_{depth}_conv", depth) for depth in range(25)),
]
_FACTORS = {
    "group": GROUPS,
    "control": CONTROLS,
    "repair": REPAIRS,
    "architecture": ARCHITECTURES,
    "direction": specs.DIRECTIONS,
    "link": LINKS,
    "seed": range(SEEDS),
}
MOST = len(_SITES) * math.prod(map(len, _FACTORS.values()))  # possible records
_ARRAYS = 64  # different arrays of counts, which arms use in turn


def study_json() -> dict:
    """Returns the contents of `study.json`."""
    study = specs.StudySpec(
        seeds=SEEDS,
        directions=specs.DIRECTIONS,
        links=LINKS,
        groups=GROUPS,
        repairs=REPAIRS,
        controls=CONTROLS[1:],
    )
    return {"specs": {"study": study.to_json()}, "versions": rundir.versions()}


def write_study(folder: pathlib.Path) -> None:
    files.write_json(folder / "study.json", study_json())


def arms(count: int) -> Iterator[dict]:
    """Yields the factors of the first `count` arms; seeds vary fastest, sites slowest."""
    for (kind, site, depth), *levels in itertools.islice(
        itertools.product(_SITES, *_FACTORS.values()), count
    ):
        location = {"site_kind": kind, "site": site, "depth": depth}
        yield location | dict(zip(_FACTORS, levels))


def records(count: int) -> Iterator[tuple[Record, np.ndarray]]:
    """Yields the first `count` records with their counts of every image."""
    draw = np.random.default_rng(0)
    confusions = [_confusions(draw, 0.05 + 0.9 * draw.random()) for _ in range(_ARRAYS)]
    errors = [_errors(draw, 1 + 9 * draw.random()) for _ in range(_ARRAYS)]
    values = [metrics.mean_iou(confusion.sum(axis=0)) for confusion in confusions]
    versions = rundir.versions()
    for number, arm in enumerate(arms(count)):
        turn = number * 7 % _ARRAYS
        to_masks = arm["direction"] == specs.DIRECTIONS[0]
        per_image = (confusions if to_masks else errors)[turn]
        sums = (
            {"confusion_matrix": per_image.sum(axis=0).tolist()}
            if to_masks
            else {"squared_error": float(per_image[:, 0].sum()), "numbers": 1}
        )
        after = values[turn] if to_masks else 1 - float(per_image[:, 0].mean()) / 20
        yield _record(arm, draw.random(9).tolist(), after, sums, versions), per_image


def _record(arm: dict, facts: list[float], after: float, sums, versions) -> Record:
    names = (
        "rmse", "relative_distance", "cosine", "scale_shift", "offset_shift",
        "output_error", "cka", "bias_shift", "bias_moved",
    )  # fmt: skip
    to_masks = arm["direction"] == specs.DIRECTIONS[0]
    task, donor_task = ("segmentation", "autoencoder")[:: 1 if to_masks else -1]
    donor, recipient = f"{donor_task}-{arm['seed']}", f"{task}-{arm['seed']}"
    return Record(
        **arm,
        **dict(zip(names, facts)),
        study=_digest("study"),
        donor=donor if arm["control"] == "transfer" else arm["control"],
        donor_digest=_digest(arm["architecture"], donor, arm["control"]),
        recipient=recipient,
        recipient_digest=_digest(arm["architecture"], recipient),
        draw=0,
        strength=1.0,
        variables=40,
        parameters=1_941_185,
        changed=1_941_101,
        metric="mean_iou" if to_masks else "r2",
        before=0.85 + arm["seed"] / 100,
        after=after,
        floor=0.15 if to_masks else 0.0,
        counts=sums,
        per_image=None,
        images=IMAGES,
        seconds=0.1234,
        versions=dict(versions),
    )


def _digest(*words: str) -> str:
    return hashlib.sha256("/".join(words).encode()).hexdigest()


def _confusions(draw: np.random.Generator, accuracy: float) -> np.ndarray:
    """Draws int64 [IMAGES, CLASSES, CLASSES]: background and half of the classes per image."""
    confusions = np.zeros((IMAGES, CLASSES, CLASSES), np.int64)
    for image in confusions:
        share = draw.dirichlet([4] + [0.6] * (CLASSES - 1))
        share[1:] *= draw.random(CLASSES - 1) > 0.5
        pixels = draw.multinomial(PIXELS, share / share.sum())
        for label, row in enumerate(image):
            weights = np.where(np.arange(CLASSES) == label, 10 * accuracy, 0.2)
            row[:] = draw.multinomial(pixels[label], draw.dirichlet(weights))
    return confusions


def _errors(draw: np.random.Generator, scale: float) -> np.ndarray:
    """Draws float64 [IMAGES, 2]: squared errors, and NaN for SSIM, which is optional."""
    errors = np.full((IMAGES, 2), np.nan)
    errors[:, 0] = draw.gamma(2, scale, IMAGES)
    return errors
