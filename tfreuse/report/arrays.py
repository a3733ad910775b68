"""Reads and writes the arrays behind a study's pictures: `figures_data/<part>.npz`.

A complete study writes them (`tfreuse.study.gallery` computes them); the report draws them where
they exist. All are plain arrays of G groups, N images of H x W pixels, L layers of batch
normalization with C channels in all, K kernels, D layers compared:

    groups          text [G]
    input, truth, before       uint8 [N, H, W, 3]; truth of an auto-encoder is its target
    before_error               uint8 [N, H, W], 255 is the largest error
    after, recalibrated        uint8 [G, N, H, W, 3]
    after_error, recalibrated_error    uint8 [G, N, H, W]
    bn_layers       text [L]; bn_channels int [L]
    bn_donor, bn_recipient     float [4, C]: moving mean, moving standard deviation, gamma, beta
    map_recipient              float [2, C]: y = a x + c of each channel at inference
    map_after, map_recalibrated    float [G, 2, C]
    kernel_layer    text []
    kernels_donor, kernels_recipient   float [kh, kw, channels, K] of that layer
    cka_layers      text [D]
    cka             float [D, D]: donor's layers by recipient's, debiased linear CKA
"""

import io
import os
import pathlib
import re
import zipfile
from collections.abc import Mapping

import numpy as np

from tfreuse import files
from tfreuse.analysis.arms import Part
from tfreuse.errors import InputError, printable

STRIP = ("groups", "input", "truth", "before", "before_error", "after", "after_error",
         "recalibrated", "recalibrated_error")  # fmt: skip
NORMS = ("groups", "bn_layers", "bn_channels", "bn_donor", "bn_recipient",
         "map_recipient", "map_after", "map_recalibrated")  # fmt: skip
KERNELS = ("kernel_layer", "kernels_donor", "kernels_recipient", "cka_layers", "cka")

Arrays = Mapping[str, np.ndarray]


def file_name(part: Part) -> str:
    """Returns the part's name in file names and links."""
    words = part if part.link != "independent" else part[:2]
    return "_".join(re.sub(r"[^A-Za-z0-9-]+", "_", word) for word in words)


def path(study_dir: str | os.PathLike, part: Part) -> pathlib.Path:
    """Returns the file of the part's arrays."""
    return pathlib.Path(study_dir) / "figures_data" / f"{file_name(part)}.npz"


def write(study_dir: str | os.PathLike, part: Part, arrays: Arrays) -> None:
    """Writes the arrays atomically."""
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    with files.replacing(path(study_dir, part)) as temporary:
        temporary.write_bytes(data.getvalue())


def load(study_dir: str | os.PathLike, part: Part) -> dict[str, np.ndarray]:
    """Reads the arrays of the part; {} if there is no file.

    Raises:
        InputError: the file is not one of plain arrays.
    """
    file = path(study_dir, part)
    if not file.exists():
        return {}
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{printable(file)} holds no plain arrays ({printable(error, 80)}). Delete it, and "
            "run the study again with the same --out_dir."
        ) from error


def has(arrays: Arrays, names: tuple[str, ...]) -> bool:
    return all(name in arrays for name in names)
