"""Turns a network into a SavedModel that runs where neither tfreuse nor Keras is known.

    path = export.export(model, "served", class_names=("ground", "cell"))  # served/1
    served = tf.saved_model.load(path)  # in any program with TensorFlow
    served.signatures["serving_default"](images=images)["mask"]

Signatures (all sizes free, float32 outputs whatever the precision of the network):

* `serving_default`: `images`, uint8 [B, H, W, C].
* `from_bytes`: `image_bytes`, one PNG or JPEG file as a string, [] or [1]; B is then 1. Only
  for networks of 1 or 3 channels.

Outputs: segmentation `mask` int32 [B, H, W] and `probabilities` [B, H, W, num_classes];
auto-encoder `image` uint8 [B, H, W, C] and `reconstruction` [B, H, W, C], about 0 to 1.

The network gets the images / 255, as in training. Sides that it cannot take are reflected at
the bottom and the right up to the next size that it can, and the outputs are cropped back.
"""

import contextlib
import ctypes
import dataclasses
import errno
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse import evaluation, files, models, rundir
from tfreuse.errors import InputError, printable

ABOUT = "assets.extra/tfreuse.json"  # TF Serving leaves assets.extra alone
DEFAULT, FROM_BYTES = "serving_default", "from_bytes"
OUTPUTS = {
    "segmentation": ("mask", "probabilities"),
    "autoencoder": ("image", "reconstruction"),
}

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # Linux's, from fcntl.h and fs.h


def export(
    model: keras.Model,
    out_dir: str | os.PathLike,
    *,
    overwrite: bool = False,
    class_names: tuple[str, ...] = (),
    notes: dict[str, Any] | None = None,
    version: int = 1,
) -> pathlib.Path:
    """Writes the SavedModel `out_dir`/`version`, compares it with the network, returns its path.

    What is compared is loaded from the disk: random images at two sizes, one that the network
    takes and an odd one. Only then does it get its name: a failure or a kill at any moment
    leaves what was there before (a kill may leave a hidden folder `.<version>.*` beside it,
    which can be deleted). Where the file system cannot exchange two folders at once (most of
    Linux's can), overwriting has a moment without either.

    Args:
        model: images [B, H, W, C], float32 in [0, 1], to logits or images; of several outputs
            the one called "head" is exported.
        out_dir: TF Serving's base path; each number in it is a version.
        overwrite: replace the SavedModel that is there.
        class_names: names of the labels 0, 1, ..., for the reader of the side file.
        notes: anything that JSON can hold, for the side file `assets.extra/tfreuse.json`.
        version: 1 or more; TF Serving takes the highest.

    Raises:
        InputError: something is there already, the model cannot be exported, or the SavedModel
            does not give what the model gives.
    """
    target = _target(pathlib.Path(out_dir), version, overwrite)
    network = _Network.of(model)
    if class_names and len(class_names) != network.num_classes:
        raise InputError(
            f"{len(class_names)} class names are given, for a network of "
            f"{network.num_classes} classes; give one a class, or none."
        )
    with _taking_the_place_of(target) as temporary:
        _write(network, temporary)
        about = {
            "class_names": list(class_names),
            "task": network.task,
            "channels": network.channels,
            "size_multiple": network.multiple,
            "parameters": model.count_params(),
            "signatures": network.signatures,
            "check": _check(network, temporary),
            "notes": notes or {},
            "versions": rundir.versions(),
        }
        files.write_json(temporary / ABOUT, about)
    return target


def about(path: str | os.PathLike) -> dict[str, Any]:
    """The side file of the SavedModel at `path`, as `export` wrote it."""
    return files.read_json(pathlib.Path(path) / ABOUT)


# The network


@dataclasses.dataclass(frozen=True)
class _Network:
    """A network whose sides are free, and what has to be known to serve it.

    Attributes:
        model: [B, H, W, channels] -> [B, H, W, outputs], sides in multiples of `multiple`.
        original: the model before its sides were freed; itself if they were.
    """

    model: keras.Model
    original: keras.Model
    task: str
    channels: int
    multiple: int

    @classmethod
    def of(cls, model: keras.Model) -> "_Network":
        task = evaluation.task_of(model)
        if isinstance(model.output, dict) and "head" not in model.output:
            raise InputError(
                f"the model's outputs are {sorted(model.output)}; expected one called 'head'."
            )
        model = models.without_auxiliary(model)
        shapes = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
        if len(shapes) != 2 or any(len(s) != 4 or s[3] is None for s in shapes):
            raise InputError(
                "expected a model with one input [B, H, W, C] and one output [B, H, W, K] "
                f"(or one called 'head'); got the shapes {shapes}."
            )
        channels = shapes[0][3]
        free = _with_free_sides(model)
        return cls(free, model, task, channels, _size_multiple(free, channels))

    @property
    def num_classes(self) -> int:
        """Classes of a segmentation; 0 for an auto-encoder."""
        return self.model.output.shape[3] if self.task == "segmentation" else 0

    @property
    def signatures(self) -> list[str]:
        # TensorFlow decodes to 1 or 3 channels
        return [DEFAULT, FROM_BYTES] if self.channels in (1, 3) else [DEFAULT]

    def tolerance(self, logits: np.ndarray) -> float:
        """How far outputs may be from the network's own, given its logits (or image).

        A graph adds up in another order than Keras does. What that does to a probability
        grows with the logits: those of an untrained ResNet-50 reach 1000.
        """
        largest = float(np.abs(logits).max())
        if all(layer.compute_dtype == "float32" for layer in self.model.layers):
            return max(1e-5, 1e-6 * largest)
        return max(2e-2, 4e-3 * largest)  # bfloat16 has 8 bits


def _with_free_sides(model: keras.Model) -> keras.Model:
    """`model`, or a copy of it whose input has no fixed height and width.

    Raises:
        InputError: the model has a layer that needs a fixed size.
    """
    (given,) = model.inputs
    if given.shape[1:3] == (None, None):
        return model
    images = keras.Input((None, None, given.shape[3]), dtype=given.dtype)
    try:
        copy = keras.models.clone_model(model, input_tensors=images)
    except Exception as error:  # each layer has its own way to refuse
        raise InputError(
            f"the model takes images of {given.shape[1:3]} pixels only, and cannot be changed "
            f"to take any size: {printable(error)}"
        ) from error
    for layer in model.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def _size_multiple(model: keras.Model, channels: int) -> int:
    """The least number of which the sides may be any multiples, found by asking TensorFlow.

    It divides the product of all strides; what shares no factor with that product tells
    nothing of it, so the network is traced on such sides times each divisor. Tracing works
    out shapes and computes nothing. (Keras's own shapes do not tell: Concatenate does not
    compare what it joins once it is built.)
    """
    strides = math.prod(_strides(model))
    network = tf.function(lambda images: model(images, training=False))
    for multiple in (m for m in range(1, strides + 1) if strides % m == 0):
        size = (multiple * (strides + 1), multiple * (2 * strides + 1))
        images = tf.TensorSpec((1, *size, channels), model.inputs[0].dtype)
        try:
            output = network.get_concrete_function(images).structured_outputs
        except ValueError:  # two branches that meet differ in size
            continue
        if output.shape[1:3].is_compatible_with(size):
            return multiple
    raise InputError(
        "the model's output has not the height and width of its input at any size tried; "
        "only such models can be exported."
    )


def _strides(model: keras.Model) -> Iterator[int]:
    """The strides by which layers make images smaller, those in nested models included."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _strides(layer)
        elif hasattr(layer, "strides") and not isinstance(layer, _ENLARGING):
            yield int(np.max(layer.strides))


_ENLARGING = (keras.layers.Conv2DTranspose,)


# What is served


def _write(network: _Network, path: pathlib.Path) -> None:
    serve = _server(network)

    def serve_bytes(image_bytes):
        pixels = tf.io.decode_image(
            tf.reshape(image_bytes, []), network.channels, expand_animations=False
        )
        return serve(pixels[None])

    inputs = {
        DEFAULT: (
            serve,
            tf.TensorSpec((None, None, None, network.channels), tf.uint8, "images"),
        ),
        FROM_BYTES: (serve_bytes, tf.TensorSpec(None, tf.string, "image_bytes")),
    }
    archive = keras.export.ExportArchive()
    archive.track(network.model)
    for name in network.signatures:
        function, spec = inputs[name]
        archive.add_endpoint(name, function, [spec])
    archive.write_out(path, verbose=False)


def _server(network: _Network):
    """The function of uint8 [B, H, W, C] that the module's docstring describes."""
    derived, direct = OUTPUTS[network.task]

    def serve(images):
        height, width = tf.unstack(tf.shape(images)[1:3])
        padded = _reflected(images, network.multiple)
        output = network.model(tf.cast(padded, tf.float32) / 255.0, training=False)
        output = tf.cast(output[:, :height, :width], tf.float32)
        if network.task == "segmentation":
            mask = tf.argmax(output, axis=-1, output_type=tf.int32)
            return {derived: mask, direct: tf.nn.softmax(output)}
        pixels = tf.round(255.0 * tf.clip_by_value(output, 0.0, 1.0))
        return {derived: tf.cast(pixels, tf.uint8), direct: output}

    return serve


def _reflected(images: tf.Tensor, multiple: int) -> tf.Tensor:
    """[B, H, W, C] -> the same, continued by its mirror image to multiples of `multiple`.

    By index, since tf.pad refuses to add more than a side has.
    """
    if multiple == 1:
        return images
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        index = tf.range(-(-side // multiple) * multiple)
        period = tf.maximum(2 * (side - 1), 1)  # 0 1 2 3 2 1 | 0 1 2 ...
        index = index % period
        images = tf.gather(images, tf.minimum(index, period - index), axis=axis)
    return images


# The check


def _check(network: _Network, path: pathlib.Path) -> dict[str, Any]:
    """Compares the SavedModel with the network; gives what was found, for the side file.

    Raises:
        InputError: they differ.
    """
    signatures = tf.saved_model.load(path).signatures
    draw = np.random.default_rng(0)
    sizes, largest, allowed = _sizes(network), 0.0, 0.0
    for size in sizes:
        images = draw.integers(0, 256, (2, *size, network.channels), dtype=np.uint8)
        with _exact_float32():
            expected, tolerance = _expected(network, images)
            pairs = [(signatures[DEFAULT](images=tf.constant(images)), expected)]
            if FROM_BYTES in network.signatures:
                file = tf.io.encode_png(images[0])
                pairs += [(signatures[FROM_BYTES](image_bytes=file), expected[:1])]
        for outputs, wanted in pairs:
            difference = _difference(network, outputs, wanted, tolerance)
            largest = max(largest, difference)
        allowed = max(allowed, tolerance)
    text = " and ".join(f"{height} x {width}" for height, width in sizes)
    return {
        "images": f"2 random images each of {text} pixels",
        "largest_difference": largest,
        "tolerance": allowed,
    }


def _sizes(network: _Network) -> list[tuple[int, int]]:
    """The network's own size, or one that it takes, and one of odd sides."""
    multiple = network.multiple
    own = tuple(
        side or 2 * max(multiple, 16) for side in network.original.input_shape[1:3]
    )
    return [own, (own[0] + 5 - own[0] % 2, own[1] + 3 - own[1] % 2)]


def _expected(network: _Network, images: np.ndarray) -> tuple[np.ndarray, float]:
    """Probabilities, or images, of uint8 [B, H, W, C], as Keras computes them; a tolerance."""
    height, width = images.shape[1:3]
    fits = network.original.input_shape[1:3] in ((height, width), (None, None))
    model = network.original if fits else network.model
    rest = [(0, -side % network.multiple) for side in (height, width)]
    padded = np.pad(images, [(0, 0), *rest, (0, 0)], mode="reflect")
    output = model(padded.astype(np.float32) / 255.0, training=False)
    output = tf.cast(output, tf.float32).numpy()[:, :height, :width]
    if not np.isfinite(output).all():
        raise InputError(
            "the model gives infinities or no numbers on random images, so that it cannot be "
            "checked; train it again with a lower --learning_rate."
        )
    tolerance = network.tolerance(output)
    if network.task == "autoencoder":
        return output, tolerance
    exponents = np.exp(output - output.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True), tolerance


def _difference(
    network: _Network, outputs: dict, expected: np.ndarray, tolerance: float
) -> float:
    """The largest difference of the direct output from `expected`.

    Raises:
        InputError: it is above the tolerance, or the mask (image) is another than follows.
    """
    derived, direct = (outputs[name].numpy() for name in OUTPUTS[network.task])
    if direct.shape != expected.shape:
        raise InputError(
            f"the SavedModel gives outputs of shape {direct.shape} where the model gives "
            f"{expected.shape}; nothing was written."
        )
    difference = float(np.abs(direct - expected).max())
    if network.task == "segmentation":
        chosen = np.take_along_axis(expected, derived[..., None], axis=-1)[..., 0]
        # a label may differ only where two probabilities are equal within the tolerance
        aside = float((expected.max(axis=-1) - chosen).max())
    else:
        pixels = 255.0 * np.clip(expected, 0.0, 1.0)
        aside = float((np.abs(derived - pixels).max() - 0.5) / 255.0)
    worst = max(difference, aside)
    if not worst <= tolerance:
        raise InputError(
            f"the SavedModel differs from the model by {worst:.2g}, more than {tolerance:.2g}; "
            "nothing was written. The model may hold a layer that computes something else in "
            "a graph."
        )
    return difference


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    """Keeps GPUs from rounding float32 to TensorFloat-32, which has 10 bits, meanwhile."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


# The folder


def _target(out_dir: pathlib.Path, version: int, overwrite: bool) -> pathlib.Path:
    """`out_dir`/`version`, if it may be written.

    Raises:
        InputError: it may not.
    """
    target = out_dir / str(version)
    if version < 1:
        raise InputError(f"a version is a number from 1 up; got {version}.")
    for path in (out_dir, target):
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; expected a directory or a new name.")
    if not target.exists() or not any(target.iterdir()):
        return target
    if not (target / "saved_model.pb").is_file():
        raise InputError(
            f"{target} holds other things than a SavedModel; choose another --out_dir."
        )
    if not overwrite:
        raise InputError(
            f"{target} holds a SavedModel already; replace it with --overwrite, or choose "
            "another --out_dir."
        )
    return target


@contextlib.contextmanager
def _taking_the_place_of(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new folder that takes the name `target` if the block succeeds."""
    parent = target.parent
    made = [path for path in (parent, *parent.parents) if not path.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    # beside the target, so that one step moves it there
    workshop = pathlib.Path(tempfile.mkdtemp(dir=parent, prefix=f".{target.name}."))
    new = workshop / "new"
    new.mkdir()
    try:
        yield new
        for path in (*new.rglob("*"), new):
            files.sync(path)
        _put(new, target, workshop / "old")
        made = []
        files.sync(parent)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)  # with what was replaced
        for path in made:
            with contextlib.suppress(OSError):  # something else was put there meanwhile
                path.rmdir()


def _put(new: pathlib.Path, target: pathlib.Path, aside: pathlib.Path) -> None:
    """Gives `new` the name `target`; what had it is then called `new` or `aside`."""
    if not target.exists() or not any(target.iterdir()):
        new.rename(target)  # over an empty folder too
    elif not _exchanged(new, target):
        target.rename(aside)
        try:
            new.rename(target)
        except BaseException:
            aside.rename(target)
            raise


def _exchanged(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether the two names were exchanged, in one step; False where that is not possible."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (
        AttributeError,
        OSError,
        TypeError,
    ):  # neither Linux nor a C library that has it
        return False
    names = (os.fsencode(one), os.fsencode(other))
    cwd = ctypes.c_int(_AT_FDCWD)
    if renameat2(cwd, names[0], cwd, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))
