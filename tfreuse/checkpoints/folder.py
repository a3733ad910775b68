"""Chooses the weights file of a folder: the only one there is, or the one that libraries read.

choose(["config.json", "model.safetensors", "pytorch_model.bin"])
# ("model.safetensors", "of its weights files model.safetensors is read, not ...")
"""

import re
from collections.abc import Iterable

from tfreuse.checkpoints.source import MissingFileError
from tfreuse.errors import InputError, first_names, printable

_WEIGHTS = re.compile(
    r".*\.(safetensors|bin|pt|pth|ckpt|keras|h5|npz|onnx|weights\.json)"
    r"|.*\.(safetensors|bin|pt|pth)\.index\.json"
)
# Shards, which an index names; and the state of a training, as Hugging Face's Trainer names it.
_PARTS = re.compile(
    r".*-\d{5}-of-\d{5}\.\w+|.*_\d{5}\.weights\.h5"
    r"|(training_args|optimizer|scheduler|scaler|rng_state|random_states).*"
)
# Names that Hugging Face's libraries give one model's weights in several formats, in the order
# in which they look for them.
_STANDARD = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
)


def choose(names: Iterable[str], where: str) -> tuple[str, str]:
    """Chooses among the names of a folder's files.

    Args:
        names: file names without a folder.
        where: the folder, for errors.

    Returns:
        The name; and a line on the weights files that are not read, "" if there are none.

    Raises:
        MissingFileError: no name is one of weights.
        InputError: several are.
    """
    candidates = sorted(
        n for n in names if _WEIGHTS.fullmatch(n) and not _PARTS.match(n)
    )
    if not candidates:
        raise MissingFileError(
            f"the folder {where} holds no file of weights; expected one such as "
            "model.safetensors, pytorch_model.bin, NAME.pth, NAME.index.json or NAME.keras."
        )
    if len(candidates) == 1:
        return candidates[0], ""
    if set(candidates) <= {*_STANDARD}:
        first, *unread = sorted(candidates, key=_STANDARD.index)
        return first, f"of its files {first} is read, not {', '.join(unread)}"
    raise InputError(
        f"the folder {where} holds {len(candidates)} files of weights: {first_names(candidates, 5)}. "
        f"Name one, such as {where.rstrip('/')}/{printable(candidates[0])}."
    )
