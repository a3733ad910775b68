"""Compares ONNX and LiteRT files with Keras, for a network with an encoder of each family.

    rows = formats.run(["keras.MobileNetV2"], folder)

Networks are UNets that return images (an auto-encoder's output shows differences that a softmax
would hide), with random batch statistics. ONNX files take any size and LiteRT files one, so that
there are two of them.
"""

import gc
import importlib.metadata
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfreuse import export, models
from tfreuse.errors import InputError
from tfreuse.export import check, portable
from tfreuse.export.network import Network
from tfreuse.specs import ModelSpec

FAMILIES = (
    *("keras.MobileNet", "keras.MobileNetV2", "keras.MobileNetV3Small"),
    *("keras.EfficientNetB0", "keras.EfficientNetV2B0", "keras.ConvNeXtTiny"),
    *("keras.ResNet50", "keras.ResNet50V2", "keras_cv.ResNet18", "keras_cv.ResNet50V2"),
    *("keras.DenseNet121", "keras.Xception", "keras.InceptionV3", "keras.InceptionResNetV2"),
    "keras.VGG16",
)  # fmt: skip
SIZES = ((64, 64), (77, 51))
_PACKAGES = ("keras", "keras-cv", "tensorflow", "tf2onnx", "onnx", "onnxruntime")


def run(encoders: Sequence[str], folder: pathlib.Path) -> list[dict[str, Any]]:
    """Measures each encoder in a UNet; returns a row each, and prints it."""
    rows = []
    for encoder in encoders:
        spec = ModelSpec(architecture="unet", width=2, encoder=encoder)
        row = {"encoder": encoder} | compare(spec, folder)
        rows.append(row)
        print(_line(row), flush=True)
        keras.backend.clear_session()
        gc.collect()
    return rows


def compare(spec: ModelSpec, folder: pathlib.Path) -> dict[str, Any]:
    """Writes the network's files and compares them with Keras at both sizes.

    Returns:
        For each file the largest difference divided by the largest output, or the text of an
        error; and "seconds".
    """
    begin = time.perf_counter()
    model = models.build(spec, task="autoencoder", num_classes=0, seed=0)
    _randomize(model)
    row: dict[str, Any] = {}
    try:
        network = export.examined(model, "autoencoder")
    except InputError as error:
        return {"error": str(error)}
    files = [("onnx", SIZES)] + [("litert", (size,)) for size in SIZES]
    for kind, sizes in files:
        name = f"{kind} {' and '.join(f'{h} x {w}' for h, w in sizes)}"
        path = folder / f"model.{kind}"
        try:
            portable.converted(network, kind, path, sizes[0])
            row[name] = max(_difference(network, kind, path, size) for size in sizes)
        except InputError as error:
            row[name] = str(error)
    return row | {"seconds": time.perf_counter() - begin}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the table with the versions that it was measured with."""
    names = [name for name in rows[0] if name not in ("encoder", "seconds", "error")]
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in _PACKAGES)
    lines = ["| encoder | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [_line(row) for row in rows]
    text = "Largest difference from Keras, divided by the largest output:"
    return "\n".join([text, "", *lines, "", f"Measured with {versions}.", ""])


def _randomize(model: keras.Model) -> None:
    """Sets vectors to random values: fresh batch norms hide that they are left out."""
    draw = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(draw.uniform(0.5, 1.5, variable.shape))


def _difference(
    network: Network, kind: str, path: pathlib.Path, size: tuple[int, int]
) -> float:
    """Returns the largest difference of a file's images from Keras's, relative to the largest."""
    draw = np.random.default_rng(1)
    images = draw.integers(0, 256, (2, *size, network.channels), dtype=np.uint8)
    expected = check.expected(network, images)
    converted = portable.runner(kind, path)(images)["reconstruction"]
    return float(np.abs(converted - expected).max() / np.abs(expected).max())


def _line(row: dict[str, Any]) -> str:
    cells = [
        value if isinstance(value, str) else f"{value:.1e}"
        for name, value in row.items()
        if name not in ("encoder", "seconds")
    ]
    return f"| {row['encoder']} | {' | '.join(cells)} |"
