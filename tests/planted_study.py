"""A planted study with every factor in it: all sites, groups, controls, repairs and strengths.

records = planted_study.records("unet")   # one part of the study, 3 seeds
"""

import dataclasses
import itertools
import zlib
from collections.abc import Sequence

import numpy as np
import planted

from tfreuse import specs
from tfreuse.records import Record

STAGES = {
    "unet": (
        "encoder_1", "encoder_2", "encoder_3", "bottleneck", "decoder_3", "decoder_2",
        "decoder_1",
    ),
    "pspnet": ("conv1", "conv2", "conv3", "conv4", "conv5", "pyramid", "fusion"),
    "plainnet": ("first", "second", "third"),
}  # fmt: skip
ROLES = ("kernel", "bias", "gamma", "beta", "stats")
SPEC = specs.StudySpec(
    seeds=3,
    directions=(planted.TO_MASKS,),
    groups=("kernel", "bias", "gamma", "affine", "stats", "all"),
    sites=specs.SITES,
    controls=specs.CONTROLS,
    repairs=specs.REPAIRS,
    strengths=(0.25, 0.5, 0.75, 1.0),
    donor_updates=(0, 10, 100),
    draws=2,
    shapley=True,
)
_LOSS = {"kernel": 0.9, "bias": 0.02, "gamma": 0.15, "affine": 0.2, "stats": 0.7,
         "all": 0.97, "beta": 0.1}  # fmt: skip
_OF_CONTROL = {
    "transfer": 1.0, "other_seed": 0.75, "reinitialised": 1.1, "initial": 1.05,
    "defaults": 0.8, "matched": 1.0, "angle": 1.0, "moments": 1.1, "shuffled": 1.05, "scrambled": 0.9,
    "zeroed": 1.15, "reordered": 0.0, "self": 0.0,
}  # fmt: skip
_OF_REPAIR = {
    "none": 1.0, "recalibration": 0.6, "permutation": 0.8,
    "permutation+recalibration": 0.45, "stitch": 0.3, "fine_tuning": 0.1,
}  # fmt: skip


def records(architecture: str = "unet", **changes) -> list[Record]:
    """The records of one part, all factors crossed as a study would cross them."""
    stages = STAGES[architecture]
    found = []
    for group in SPEC.groups:
        for control, repair in itertools.product(_OF_CONTROL, specs.REPAIRS):
            draws = SPEC.draws if control in specs.RANDOM_CONTROLS else 1
            if not _is_measured(control, repair):
                continue
            for draw in range(draws):
                more = {"control": control, "repair": repair, "draw": draw}
                found += _arm(group, 1.0, **more)
                if repair == "none" or control == "transfer":
                    found += _stages(stages, group, **more)
        for kind, control in itertools.product(
            ("prefix", "suffix"), ("transfer", "other_seed", "reinitialised")
        ):
            found += _cumulative(stages, kind, group, control=control)
        for control, repair, strength in itertools.product(
            ("transfer", "other_seed", "reordered"), specs.REPAIRS[:4], SPEC.strengths
        ):
            if strength < 1:
                more = {"control": control, "repair": repair, "strength": strength}
                found += _arm(group, strength**1.5, **more)
        for updates, repair in itertools.product(
            SPEC.donor_updates, ("none", "recalibration")
        ):
            more = {"updates": updates, "repair": repair}
            found += _arm(group, 1 / (1 + updates), **more)
            found += _stages(stages, group, **more)
        for depth, stage in enumerate(stages):
            site = {"site": stage, "depth": depth}
            found += _arm(group, 0.8, site_kind="leave_one_out", **site)
            for number, op in enumerate(("conv", "bn")):
                site = {"site": f"{stage}_a_{op}", "depth": 2 * depth + number}
                found += _arm(group, _reach(depth) / 2, site_kind="layer", **site)
    found += _unions(stages)
    found += _channels(stages)
    told = changes | {"architecture": architecture}
    return [dataclasses.replace(one, **told) for one in found]


def _is_measured(control: str, repair: str) -> bool:
    if control == "reinitialised" and repair in ("stitch", "fine_tuning"):
        return True
    return control == "transfer" or repair in ("none", "recalibration")


def _reach(depth: int) -> float:
    return 0.75 * np.exp(-depth / 2.5)


def _stages(stages: Sequence[str], group: str, **more) -> list[Record]:
    return [
        record
        for depth, stage in enumerate(stages)
        for record in _arm(
            group, _reach(depth), site_kind="stage", site=stage, depth=depth, **more
        )
    ]


def _cumulative(stages: Sequence[str], kind: str, group: str, **more) -> list[Record]:
    found = []
    for depth, stage in enumerate(stages):
        part = depth + 1 if kind == "prefix" else len(stages) - depth
        share = (part / len(stages)) ** (0.5 if kind == "prefix" else 2)
        site = {"site_kind": kind, "site": stage, "depth": depth}
        found += _arm(group, share, **site, **more)
    return found


def _unions(stages: Sequence[str]) -> list[Record]:
    """All 31 unions of roles at each stage; those that are groups already stand elsewhere."""
    found = []
    for size in range(1, 6):
        for members in itertools.combinations(ROLES, size):
            name = "all" if size == 5 else "+".join(members)
            if name in SPEC.groups:
                continue
            loss = 1 - np.prod([1 - _LOSS[role] for role in members])
            for depth, stage in enumerate(stages):
                site = {"site_kind": "stage", "site": stage, "depth": depth}
                found += _arm(name, _reach(depth), loss=loss, **site)
    return found


def _channels(stages: Sequence[str]) -> list[Record]:
    """Shares of the channels of all layers and of single stages, in every order."""
    sites = [("all", -1, 1.0)]
    sites += [(stage, depth, _reach(depth)) for depth, stage in enumerate(stages)]
    found = []
    for (site, depth, reach), order, share, repair in itertools.product(
        sites, specs.ORDERS, specs.SHARES, ("none", "recalibration")
    ):
        for draw in range(SPEC.draws if order == "random" else 1):
            place = {"site_kind": "channels", "site": site, "depth": depth}
            told = place | {"order": order, "share": share, "draw": draw}
            worse = 1 + 0.2 * specs.ORDERS.index(order)
            found += _arm("all", share * worse * reach / 2, repair=repair, **told)
    return found


def _arm(group: str, scale: float, loss: float | None = None, **changes):
    """A record a seed, its loss made of the group's, the control's and the repair's."""
    loss = _LOSS[group] if loss is None else loss
    lost = loss * scale * _OF_CONTROL[changes.get("control", "transfer")]
    if changes.get("control") not in ("self", "reordered"):
        lost *= _OF_REPAIR[changes.get("repair", "none")]
    name = repr((group, sorted(changes.items())))
    noise = np.random.default_rng(zlib.crc32(name.encode())).normal(size=SPEC.seeds)
    noise, lost = noise.tolist(), float(lost)
    spread = 1.0 if group == "bias" else 0.05
    told = {
        "group": group, "rmse": 0.2 + lost, "relative_distance": 0.5 + lost,
        "cosine": 0.3 - 0.2 * lost, "scale_shift": 0.4 * lost, "offset_shift": lost,
        "output_error": 1.2 * lost, "cka": 1 - 0.8 * lost,
    }  # fmt: skip
    return [
        planted.record(
            1 - min(lost, 1.05) + spread * lost * noise[seed],
            seed=seed,
            **told,
            **changes,
        )
        for seed in range(SPEC.seeds)
    ]


def arrays(
    groups: Sequence[str] = ("kernel", "bias", "stats"),
) -> dict[str, np.ndarray]:
    """What a study's gallery holds: 2 images of 24 x 32 pixels, 3 layers of 4 to 16 channels."""
    rng, g = np.random.default_rng(0), len(groups)
    y, x = np.mgrid[:24, :32]
    disc = ((y - 12) ** 2 + (x - 14) ** 2 < 60).astype(np.uint8)
    truth = np.array([(40, 40, 48), (240, 150, 90)], np.uint8)[
        np.stack([disc, disc.T.T])
    ]
    error = np.where(rng.random((g, 2, 24, 32)) < 0.2, 255, 0).astype(np.uint8)
    channels = np.array([4, 8, 16])
    vectors = rng.normal(1, 0.4, (4, 28)).astype(np.float32)
    layers = np.array(["encoder_1_a_bn", "bottleneck_a_bn", "decoder_1_a_bn"])
    maps = rng.normal(0, 1, (2, 28))
    return {
        "groups": np.array(groups),
        "input": rng.integers(0, 255, (2, 24, 32, 3)).astype(np.uint8),
        "truth": truth,
        "before": truth,
        "before_error": np.zeros((2, 24, 32), np.uint8),
        "after": np.where(error[..., None] > 0, 255, truth).astype(np.uint8),
        "after_error": error,
        "recalibrated": np.broadcast_to(truth, (g, *truth.shape)),
        "recalibrated_error": error // 2,
        "bn_layers": layers,
        "bn_channels": channels,
        "bn_donor": vectors,
        "bn_recipient": vectors + rng.normal(0, 0.2, (4, 28)),
        "map_recipient": maps,
        "map_after": maps + rng.normal(0, 0.8, (g, 2, 28)),
        "map_recalibrated": maps + rng.normal(0, 0.1, (g, 2, 28)),
        "kernel_layer": np.array("encoder_1_a_conv"),
        "kernels_donor": rng.normal(0, 1, (3, 3, 3, 16)),
        "kernels_recipient": rng.normal(0, 1, (3, 3, 3, 16)),
        "cka_layers": layers,
        "cka": np.array([[0.9, 0.4, 0.2], [0.5, 0.8, 0.3], [0.1, 0.3, 0.7]]),
    }
