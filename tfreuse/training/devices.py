"""Devices, compilation and profiling of a training.

with devices.strategy(spec).scope():
    ...  # make the model, its optimizer and the training view; fit
callbacks += devices.callbacks(spec, out_dir / "tensorboard", steps)
"""

import os

import keras
import tensorflow as tf

from tfreuse.errors import InputError
from tfreuse.specs import DeviceSpec

DEFAULT = DeviceSpec()
# The profile covers TRACED steps, after FIRST steps in which TensorFlow chooses kernels and
# allocates memory.
FIRST, TRACED = 10, 5


def strategy(spec: DeviceSpec, batch_size: int) -> tf.distribute.Strategy:
    """Returns a mirrored strategy over all GPUs of this machine, or TensorFlow's default.

    Each GPU gets an equal share of every batch. Without a GPU, "mirrored" takes the logical
    devices of the CPU: one, unless a test configured more. Use one strategy per process: a
    second can hang where batch normalizations are synchronized.

    Raises:
        InputError: the batch cannot be divided evenly.
    """
    if spec.strategy == "none":
        return tf.distribute.get_strategy()
    gpus, cpus = (tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU"))
    names = [device.name for device in gpus or cpus]
    if batch_size % len(names):
        raise InputError(
            f"--batch_size={batch_size} cannot be shared evenly among {len(names)} devices; "
            f"use a multiple of {len(names)}, or --strategy=none."
        )
    return tf.distribute.MirroredStrategy(names)


def several() -> bool:
    """Whether the strategy of the current scope shares each batch among several devices."""
    return tf.distribute.get_strategy().num_replicas_in_sync > 1


def jit_compile(spec: DeviceSpec) -> bool | str:
    """Returns `jit_compile` for Keras; "auto" disables XLA where devices exchange statistics."""
    if spec.jit_compile == "auto" and spec.strategy == "mirrored":
        return False
    return {"auto": "auto", "on": True, "off": False}[spec.jit_compile]


def callbacks(
    spec: DeviceSpec, log_dir: str | os.PathLike, steps: int
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks for `fit`: a profiler of some of its `steps` if the spec asks."""
    return [_Profiler(os.fspath(log_dir), steps)] if spec.profile else []


class _Profiler(keras.callbacks.Callback):
    """Profiles `TRACED` steps, each marked as a step for TensorBoard's profile plugin."""

    def __init__(self, log_dir: str, steps: int) -> None:
        super().__init__()
        self._log_dir, self._step, self._mark = log_dir, 0, None
        self._first = max(0, min(FIRST, steps - TRACED))

    def on_train_batch_begin(self, batch, logs=None):
        if self._step == self._first:
            tf.profiler.experimental.start(self._log_dir)
        if self._first <= self._step < self._first + TRACED:
            self._mark = tf.profiler.experimental.Trace(
                "train", step_num=self._step, _r=1
            )
            self._mark.__enter__()

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        if self._mark:
            self._mark.__exit__(None, None, None)
            self._mark = None
            if self._step == self._first + TRACED:
                tf.profiler.experimental.stop()

    def on_train_end(self, logs=None):
        # The training ended before the last profiled step.
        if self._first < self._step < self._first + TRACED:
            tf.profiler.experimental.stop()
