"""Exports networks for other runtimes: ONNX for images of any size, LiteRT for a fixed size.

    facts = portable.write(network, "onnx", path)
    facts = portable.write(network, "litert_int8", path, (64, 64), calibration=images)
    run = portable.runner("litert_int8", path)
    run(images)["mask"]                              # uint8 [B, H, W, C] -> int32 [B, H, W]

Inputs and outputs are those of the SavedModel's default signature. ONNX and LiteRT in float32
are compared with the network before they get their names. LiteRT in 8 bits is not equal to the
network: `loss` measures how much of the metric it costs.
"""

import contextlib
import importlib.util
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfreuse import files, runtime
from tfreuse.analysis import metrics
from tfreuse.errors import InputError, reason
from tfreuse.export import check, serving
from tfreuse.export.network import Network

_PACKAGES = {"onnx": ("tf2onnx", "onnx", "onnxruntime")}  # of the extra of that name
_OPSET = 17
_SLACK = 4.0  # factor on the tolerance for another graph of TensorFlow
_RESAMPLES = 2000

Runner = Callable[[np.ndarray], dict[str, np.ndarray]]


def write(
    network: Network,
    kind: str,
    path: pathlib.Path,
    size: tuple[int, int] = (64, 64),
    calibration: np.ndarray | None = None,
) -> dict[str, Any]:
    """Writes the file and compares it with the network; returns its size and the differences.

    Args:
        network: the network.
        kind: one of specs.FORMATS.
        path: the file; an existing file is replaced.
        size: (H, W) of LiteRT's images.
        calibration: uint8 [N, *size, C], for "litert_int8": images that determine the ranges
            of features that 8 bits must cover.

    Raises:
        InputError: a package is not installed, the network cannot be converted, or the
            outputs of the file differ from the network's.
    """
    check_installed(kind)
    with files.replacing(path, suffix=path.suffix) as temporary:
        converted(network, kind, temporary, size, calibration)
        facts = {"file": path.name, "bytes": os.path.getsize(temporary)}
        if kind == "litert_int8":
            return facts
        sizes = check.sizes(network) if kind == "onnx" else [network.size or size]
        with runtime.quiet():
            run = runner(kind, temporary)
            facts["check"] = check.agree(
                network, lambda images: [run(images)], sizes, slack=_SLACK
            )
    return facts


def converted(
    network: Network,
    kind: str,
    path: pathlib.Path,
    size: tuple[int, int],
    calibration: np.ndarray | None = None,
) -> None:
    """Writes the file and loads it, without a comparison; see `write`."""
    with _conversion(kind), runtime.quiet():
        if kind == "onnx":
            _to_onnx(network, path)
        else:
            _to_litert(network, path, size, calibration)
        runner(kind, path)  # a converter may write a file that its runtime refuses


@contextlib.contextmanager
def _conversion(kind: str) -> Iterator[None]:
    """Raises InputError for the errors of many types that converters and runtimes raise."""
    try:
        yield
    except (OSError, tf.errors.ResourceExhaustedError):  # a full disk or memory
        raise
    except Exception as error:
        raise InputError(
            f"the model cannot be converted to {kind}: {reason(error, 300)}."
        ) from error


def check_installed(kind: str) -> None:
    """Raises InputError if a package that the format needs is not installed."""
    missing = [
        name
        for name in _PACKAGES.get(kind, ())
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise InputError(
            f"--formats={kind} needs {', '.join(missing)}: pip install 'tfreuse[{kind}]', or "
            f"in a checkout pip install -e '.[{kind}]'."
        )


def runner(kind: str, path: pathlib.Path) -> Runner:
    """Loads a file as a function of images uint8 [B, H, W, C], with the default outputs."""
    return _onnx_runner(path) if kind == "onnx" else _litert_runner(path)


def loss(
    network: Network, run: Runner, images: np.ndarray, masks: np.ndarray, ignore: int
) -> dict[str, Any]:
    """Measures mean IoU of the network and of the file, and their difference.

    The interval of the difference is a 95 % percentile bootstrap over images, paired: each
    resample has the same images for both.

    Args:
        network: a segmentation.
        run: runs the file.
        images: uint8 [N, H, W, C].
        masks: int32 [N, H, W].
        ignore: label of ignored pixels; -1: none.
    """
    classes = network.num_classes
    # Confusion matrices of every image, by the network [0] and by the file [1].
    confusions = np.zeros((2, len(images), classes, classes), np.int64)
    for i in range(len(images)):
        image = images[i : i + 1]
        labels = np.argmax(check.expected(network, image), axis=-1)
        predictions = labels, run(image)["mask"]
        valid = masks[i] != ignore
        for confusion, mask in zip(confusions, predictions, strict=True):
            cells = masks[i][valid] * classes + mask[0][valid]
            confusion[i] = np.bincount(cells, minlength=classes**2).reshape(classes, -1)
    of_network, of_file = (metrics.mean_iou(c.sum(axis=0)) for c in confusions)
    draw = np.random.default_rng(0)
    n = len(images)
    times = draw.multinomial(n, np.full(n, 1 / n), _RESAMPLES)  # of each image
    resampled = [
        metrics.mean_ious(np.einsum("rn,nij->rij", times, c)) for c in confusions
    ]
    low, high = np.quantile(resampled[1] - resampled[0], (0.025, 0.975))
    return {
        "mean_iou": of_network, "mean_iou_of_file": of_file,
        "difference": of_file - of_network,
        "low": float(low), "high": float(high), "images": n,
    }  # fmt: skip


def _to_onnx(network: Network, path: pathlib.Path) -> None:
    import tf2onnx  # an extra
    from tf2onnx import tf_loader

    function = tf.function(serving.server(network))
    with _one_graph():
        concrete = function.get_concrete_function(serving.image_spec(network))
    inputs = {concrete.inputs[0].name: "images"}
    names = sorted(concrete.structured_outputs)  # the order of a flattened dict
    outputs = {
        tensor.name: name for tensor, name in zip(concrete.outputs, names, strict=True)
    }
    # Not tf2onnx.convert.from_function: in version 1.17 it declares the constants that a
    # function captures, such as the mean of Normalization, as inputs that must be fed.
    graph = tf_loader.from_function(concrete, list(inputs), list(outputs))
    tf2onnx.convert.from_graph_def(
        graph,
        input_names=list(inputs),
        output_names=list(outputs),
        tensors_to_rename=inputs | outputs,
        opset=_OPSET,
        custom_op_handlers={"Erfc": (_write_erfc, [])},
        output_path=str(path),
    )


def _write_erfc(graph, node, name: str, args: list) -> None:
    """Replaces Erfc by 1 - Erf: tf2onnx 1.17 does not know Erfc, of which exact GELU is made."""
    from tf2onnx import utils

    (source,), (output,) = node.input, node.output
    shape, dtype = graph.get_shape(output), graph.get_dtype(output)
    unit = np.ones((), utils.map_onnx_to_numpy_type(dtype))
    graph.remove_node(node.name)
    erf = graph.make_node("Erf", [source])
    graph.make_node(
        "Sub",
        [graph.make_const(utils.make_name("one"), unit).output[0], erf.output[0]],
        outputs=[output],
        shapes=[shape],
        dtypes=[dtype],
    )


@contextlib.contextmanager
def _one_graph() -> Iterator[None]:
    """Traces inner functions as part of the outer one.

    Keras 3.15 compiles grouped convolutions as functions of their own (XLA), and tf2onnx leaves a
    call of such a function in the file, which no runtime knows.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # tracing by name is not concerned
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _to_litert(
    network: Network,
    path: pathlib.Path,
    size: tuple[int, int],
    calibration: np.ndarray | None,
) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".litert") as folder:
        serving.write(network, pathlib.Path(folder), (1, *size), [serving.DEFAULT])
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=[serving.DEFAULT]
        )
        if calibration is not None:

            def images() -> Iterator[dict[str, np.ndarray]]:
                for image in calibration:
                    yield {"images": image[None]}

            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = images
        path.write_bytes(converter.convert())


def _onnx_runner(path: pathlib.Path) -> Runner:
    import onnxruntime  # an extra

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(None, {"images": images}), strict=True))

    return run


def _litert_runner(path: pathlib.Path) -> Runner:
    # Deprecated, with a warning, but part of TensorFlow until 2.22 at least.
    with runtime.quiet():
        interpreter = tf.lite.Interpreter(str(path))
        signature = interpreter.get_signature_runner(serving.DEFAULT)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        rows = [signature(images=image[None]) for image in images]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    return run
