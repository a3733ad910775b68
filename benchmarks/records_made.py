"""A study of any size that no network was trained for: records and counts as real ones are.

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
_PLACES = [
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
MOST = len(_PLACES) * math.prod(map(len, _FACTORS.values()))  # records there can be
_KEPT = 64  # different arrays of counts; arms take turns with them


def held() -> dict:
    """What the study's `study.json` holds."""
    study = specs.StudySpec(
        seeds=SEEDS,
        directions=specs.DIRECTIONS,
        links=LINKS,
        groups=GROUPS,
        repairs=REPAIRS,
        controls=CONTROLS[1:],
    )
    return {"specs": {"study": study.to_json()}, "versions": rundir.versions()}


def write_held(folder: pathlib.Path) -> None:
    files.write_json(folder / "study.json", held())


def arms(count: int) -> Iterator[dict]:
    """The first `count` arms' factors; every recipient's arms of all layers come first."""
    for (kind, site, depth), *rest in itertools.islice(
        itertools.product(_PLACES, *_FACTORS.values()), count
    ):
        place = {"site_kind": kind, "site": site, "depth": depth}
        yield place | dict(zip(_FACTORS, rest))


def records(count: int) -> Iterator[tuple[Record, np.ndarray]]:
    """The first `count` records with their counts of every image."""
    draw = np.random.default_rng(0)
    confusions = [_confusions(draw, 0.05 + 0.9 * draw.random()) for _ in range(_KEPT)]
    errors = [_errors(draw, 1 + 9 * draw.random()) for _ in range(_KEPT)]
    values = [metrics.mean_iou(one.sum(axis=0)) for one in confusions]
    versions = rundir.versions()
    for number, arm in enumerate(arms(count)):
        turn = number * 7 % _KEPT
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
    task, other = ("segmentation", "autoencoder")[:: 1 if to_masks else -1]
    donor, recipient = f"{other}-{arm['seed']}", f"{task}-{arm['seed']}"
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


def _confusions(draw: np.random.Generator, right: float) -> np.ndarray:
    """int64 [IMAGES, CLASSES, CLASSES]: half the classes in an image, a background in all."""
    found = np.zeros((IMAGES, CLASSES, CLASSES), np.int64)
    for image in found:
        share = draw.dirichlet([4] + [0.6] * (CLASSES - 1))
        share[1:] *= draw.random(CLASSES - 1) > 0.5
        pixels = draw.multinomial(PIXELS, share / share.sum())
        for label, row in enumerate(image):
            like = np.where(np.arange(CLASSES) == label, 10 * right, 0.2)
            row[:] = draw.multinomial(pixels[label], draw.dirichlet(like))
    return found


def _errors(draw: np.random.Generator, scale: float) -> np.ndarray:
    """float64 [IMAGES, 2]: squared errors; SSIM was not asked for."""
    found = np.full((IMAGES, 2), np.nan)
    found[:, 0] = draw.gamma(2, scale, IMAGES)
    return found
