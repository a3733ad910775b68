"""Defines the files that can be written, and the input and report of a write.

Apart from `writing`, which a plan does not need.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable

Value = np.ndarray | tuple[Checkpoint, Variable]
Checksums = Mapping[str, int]  # CRC-32 by the recipient's variable path
Provenance = Mapping[str, Any] | Callable[[Checksums, Checksums], Mapping[str, Any]]
SUFFIXES = {
    "keras": ".keras",
    "weights_h5": ".weights.h5",
    "legacy_h5": ".h5",
    "safetensors": ".safetensors",
}

RECIPIENT, COPY = "recipient", "copy"
UNDO = (RECIPIENT, COPY)  # where undo takes the replaced values from


@dataclasses.dataclass(frozen=True)
class WriteReport:
    """Summary of a `write`.

    Attributes:
        path: the output.
        undo_path: file that `undo` reads.
        variables: number of arrays that were replaced.
        bytes: their size.
        copied: how the unchanged bytes of the recipient were copied.
        checked: path of each input -> checksum it was verified by, "crc32" or "unverified".
    """

    path: str
    undo_path: str
    variables: int
    bytes: int
    copied: str
    checked: dict[str, str]


def check_undo(undo: str) -> None:
    """Raises InputError unless `undo` is one of UNDO."""
    if undo not in UNDO:
        raise InputError(f"undo is one of {', '.join(UNDO)}; got {printable(undo)}.")


def check_recipient(recipient: Checkpoint) -> None:
    """Raises InputError unless files of the recipient's format can be written."""
    if recipient.kind in SUFFIXES:
        return
    where = printable(recipient.path)
    remedy = f"Load {where} in Keras and save it as one"
    if recipient.pytorch:
        state = f"torch.load('{where}')"
        if recipient.kind != "pytorch":  # in several files
            state = "model.state_dict()"
        remedy = f"Where PyTorch is: safetensors.torch.save_file({state}, 'weights.safetensors')"
    raise InputError(
        f"a {recipient.kind} file cannot be written; the recipient must be one of "
        f"{', '.join(SUFFIXES.values())}. {remedy}."
    )
