"""Histograms of the parameters at a cell, donor against recipient, one for each role.

    with Networks(study_dir) as networks:
        view(snapshot, part, "layer", "encoder_1_a_conv", "kernel", networks)

Values are read from the first seed's network files by offset, without TensorFlow.
"""

import contextlib
import fnmatch
import pathlib
import re
from typing import Any, Self

import numpy as np

from tfreuse import checkpoints, files, roles
from tfreuse.analysis.arms import Part
from tfreuse.checkpoints import Checkpoint
from tfreuse.errors import InputError
from tfreuse.plan import Variable
from tfreuse.report.figures import spread
from tfreuse.report.views import cells
from tfreuse.report.views.snapshot import Snapshot

KINDS = ("stage", "layer")
BINS = 40
MOST = 8_000_000  # numbers of one role, in each network
_NAME = re.compile(r"\w[\w.@+-]{0,199}", re.ASCII)


class Networks(contextlib.AbstractContextManager):
    """A study's trained networks, each opened at its first use."""

    def __init__(self, study: pathlib.Path) -> None:
        self._folder = study / "models"
        self._opened: dict[str, Checkpoint | None] = {}

    def __exit__(self, *_) -> None:
        for network in self._opened.values():
            if network:
                network.close()

    def __enter__(self) -> Self:
        return self

    def get(self, name: str) -> Checkpoint | None:
        """Returns the network's file; None if it is missing or unreadable."""
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def _open(self, name: str) -> Checkpoint | None:
        path = self._folder / name / "model.keras"
        if not _NAME.fullmatch(name) or not files.is_own_file(path):
            return None
        if self._folder.is_symlink() or path.parent.is_symlink():
            return None
        try:
            return checkpoints.open(path)
        except (InputError, OSError):
            return None


def view(
    snapshot: Snapshot,
    part: Part,
    kind: str,
    site: str,
    group: str,
    networks: Networks,
) -> dict[str, Any]:
    """Returns the histograms of a cell as `drawings`, and a `hint` where there are none.

    Raises:
        InputError: there is no such cell.
    """
    answer = distributions(snapshot, part, kind, site, group, networks)
    histograms = answer.pop("roles")
    if not histograms and not answer["hint"]:
        answer["hint"] = "Both networks lack such arrays."
    drawn = [counts for counts in histograms if "left_out" not in counts]
    omitted = [counts for counts in histograms if "left_out" in counts]
    return answer | {
        "drawings": [str(spread.histogram(**counts)) for counts in drawn],
        "left_out": [f"{counts['role']}: {counts['left_out']}" for counts in omitted],
    }


def distributions(
    snapshot: Snapshot,
    part: Part,
    kind: str,
    site: str,
    group: str,
    networks: Networks,
) -> dict[str, Any]:
    """Counts both networks' values in the same bins, for each role of the group.

    Raises:
        InputError: there is no such cell.
    """
    arms = cells.arms_by_cell(snapshot, part).get((kind, site, group), {})
    plain = cells.transfers(arms)
    if not plain or kind not in KINDS:
        raise InputError("there are no distributions of such a cell.")
    seed, record = min(plain.items())
    names = {"seed": seed, "donor": record.donor, "recipient": record.recipient}
    pair = networks.get(record.donor), networks.get(record.recipient)
    if None in pair:
        return names | {
            "roles": [],
            "hint": "The distributions need the study's networks: "
            "models/NETWORK/model.keras in its directory.",
        }
    layers = cells.layers_of(snapshot, part, kind, site)
    sides = [_variables(network, layers) for network in pair]
    counts = []
    for role in roles.expand(group):
        keys = [key for key in sides[0] if key[1] == role and _alike(*sides, key)]
        if keys:
            counts.append({"role": role} | _counted(pair, sides, keys))
    return names | {"roles": counts, "hint": ""}


_Side = dict[tuple[str, str], Variable]  # by layer's path and role


def _variables(network: Checkpoint, layers: list[str]) -> _Side:
    """Returns the variables of the layers that match a name or glob."""
    return {
        (variable.layer_path, variable.role): variable
        for variable in network.variables
        if variable.role
        and any(
            variable.layer == glob or fnmatch.fnmatchcase(variable.layer, glob)
            for glob in layers
        )
    }


def _alike(donor: _Side, recipient: _Side, key: tuple[str, str]) -> bool:
    return key in recipient and donor[key].shape == recipient[key].shape


def _counted(
    pair: tuple[Checkpoint, Checkpoint], sides: list[_Side], keys: list[tuple[str, str]]
) -> dict[str, Any]:
    """Counts one role's values in BINS bins between the smallest and largest of both."""
    numbers = sum(sides[0][key].size for key in keys)
    if numbers > MOST:
        return {"numbers": numbers, "left_out": f"over {MOST:,} numbers"}
    try:
        values = [
            np.concatenate([_read(network, side[key]) for key in keys])
            for network, side in zip(pair, sides, strict=True)
        ]
    except (InputError, OSError) as error:
        return {"numbers": numbers, "left_out": str(error)}
    finite = [array[np.isfinite(array)] for array in values]
    if not all(map(len, finite)):
        return {"numbers": numbers, "left_out": "none of them is finite"}
    low = float(min(array.min() for array in finite))
    high = float(max(array.max() for array in finite))
    reach = (low, high) if high > low else (low - 0.5, high + 0.5)
    counts = [np.histogram(array, BINS, reach)[0].tolist() for array in finite]
    return {
        "numbers": numbers, "low": reach[0], "high": reach[1],
        "donor": counts[0], "recipient": counts[1],
    }  # fmt: skip


def _read(network: Checkpoint, variable: Variable) -> np.ndarray:
    return network.read(variable).astype(np.float32).ravel()
