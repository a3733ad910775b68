"""Records with a planted truth: retention is given, the record is made to have it."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfreuse import specs
from tfreuse.analysis.arms import by_part
from tfreuse.records import Record

TO_MASKS, TO_IMAGES = specs.DIRECTIONS
SPEC = specs.StudySpec(directions=(TO_MASKS,))

# Per seed, at the site of all layers: every claim of the paper is true, by a wide margin.
TRUE = {
    "kernel": (0.05, 0.02, 0.08),
    "bias": (1.00, 0.995, 1.002),
    "affine": (0.99, 0.98, 1.00),
    "stats": (0.10, 0.02, 0.06),
    "all": (0.01, 0.03, 0.02),
}


def record(retention: float, *, seed: int = 0, **changes: Any) -> Record:
    """A record of that retention: a recipient of 0.8 over a floor of 0.2 unless changed."""
    before, floor = changes.pop("before", 0.8), changes.pop("floor", 0.2)
    direction = changes.get("direction", TO_MASKS)
    task = "autoencoder" if direction == TO_IMAGES else "segmentation"
    fields = {
        "study": "0" * 64,
        "architecture": "unet",
        "direction": direction,
        "link": "independent",
        "seed": seed,
        "donor": f"donor-{seed}",
        "donor_digest": "d" * 64,
        "recipient": f"{task}-{seed}",
        "recipient_digest": "r" * 64,
        "control": "transfer",
        "draw": 0,
        "site_kind": "all",
        "site": "all",
        "depth": -1,
        "group": "all",
        "strength": 1.0,
        "repair": "none",
        "variables": 4,
        "parameters": 100,
        "changed": 100,
        "rmse": 0.5,
        "relative_distance": 1.0,
        "cosine": 0.1,
        "scale_shift": None,
        "offset_shift": None,
        "output_error": None,
        "cka": None,
        "bias_shift": 0.3,
        "bias_moved": 0.8,
        "metric": "r2" if task == "autoencoder" else "mean_iou",
        "before": before,
        "after": floor + retention * (before - floor),
        "floor": floor,
        "counts": {},
        "per_image": None,
        "images": 64,
        "seconds": 0.1,
        "versions": {"tfreuse": "0"},
        "updates": None,
        "order": "",
        "share": 1.0,
    }
    unknown = set(changes) - set(fields)
    assert not unknown, unknown
    return Record(**(fields | changes))


def arm(retentions: Sequence[float], **changes: Any) -> list[Record]:
    """One arm: a record a seed."""
    return [record(one, seed=seed, **changes) for seed, one in enumerate(retentions)]


def study(
    retentions: dict[str, Sequence[float]] = TRUE, **changes: Any
) -> list[Record]:
    """The arms of all layers, one a group."""
    return [
        one
        for group, values in retentions.items()
        for one in arm(values, group=group, **changes)
    ]


def stages() -> list[Record]:
    """Single stages and layers, and the self control of all layers; the group is kernel.

    Re-initialising costs 0.6 of mean IoU in encoder_1 and 0.012 in the bottleneck.
    """
    found = arm((1.0, 1.0, 1.0), control="self", group="kernel")
    for depth, (stage, retention, fresh) in enumerate(
        (("encoder_1", 0.4, 0.0), ("bottleneck", 0.9, 0.98))
    ):
        site = {"site_kind": "stage", "site": stage, "depth": depth, "group": "kernel"}
        found += arm((retention, retention + 0.02, retention - 0.02), **site)
        found += arm((1.0, 1.0, 0.99), repair="recalibration", **site)
        found += arm((fresh, fresh + 0.001, fresh), control="reinitialised", **site)
        for number, block in enumerate("ab"):
            site |= {
                "site_kind": "layer",
                "site": f"{stage}_{block}_conv",
                "depth": 2 * depth + number,
            }
            found += arm((retention, retention, retention + 0.01), **site)
    return found


def write(
    path: pathlib.Path,
    records: Sequence[Record],
    spec: specs.StudySpec = SPEC,
    **held: Any,
) -> pathlib.Path:
    """Makes `path` the directory of a study; returns it."""
    path.mkdir(exist_ok=True)
    (path / "records.jsonl").write_text("".join(one.to_line() for one in records))
    held = {"specs": {"study": spec.to_json()}, "versions": {"keras": "3.15"}} | held
    (path / "study.json").write_text(json.dumps(held))
    return path


NOISE = np.array([0.012, -0.01, 0.003, -0.007, 0.008, -0.006])  # of six seeds, mean 0


def only_part(records):
    """Returns the arms of the only part."""
    (arms,) = by_part(records).values()
    return arms


def row_of_stages(retained, noise=NOISE, group="kernel", **changes):
    """Records of one stage for each mean retention, from input to output."""
    found = []
    for depth, one in enumerate(retained):
        site = {"site_kind": "stage", "site": f"stage_{depth}", "depth": depth}
        values = one + np.roll(noise, depth)
        found += arm(values, group=group, **site, **changes)
    return found
