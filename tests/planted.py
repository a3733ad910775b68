"""Records with a planted truth: retention is given, the record is made to have it."""

from collections.abc import Sequence
from typing import Any

from tfreuse import specs
from tfreuse.records import Record

TO_MASKS, TO_IMAGES = specs.DIRECTIONS

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
        "seed": seed,
        "donor": f"donor-{seed}",
        "donor_digest": "d" * 64,
        "recipient": f"{task}-{seed}",
        "recipient_digest": "r" * 64,
        "control": "transfer",
        "site_kind": "all",
        "site": "all",
        "depth": -1,
        "group": "all",
        "repair": "none",
        "variables": 4,
        "parameters": 100,
        "changed": 100,
        "rmse": 0.5,
        "bias_shift": 0.3,
        "metric": "r2" if task == "autoencoder" else "mean_iou",
        "before": before,
        "after": floor + retention * (before - floor),
        "floor": floor,
        "counts": {},
        "images": 64,
        "seconds": 0.1,
        "versions": {"tfreuse": "0"},
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
