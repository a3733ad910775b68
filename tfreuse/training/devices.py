"""How a training is computed: on which devices, compiled or not, and with a trace or without.

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
FIRST, TRACED = 10, 5  # steps: before these, kernels are chosen and memory is taken


def strategy(spec: DeviceSpec, batch_size: int) -> tf.distribute.Strategy:
    """All GPUs of this machine, each with its share of every batch; or TensorFlow's default.

    Without a GPU, "mirrored" takes the logical devices of the CPU: one, unless a test made
    more. One strategy a process: a second one can hang where batch norms are synchronized.

    Raises:
        InputError: the batch cannot be shared evenly.
    """
    if spec.strategy == "none":
        return tf.distribute.get_strategy()
    devices = [tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU")]
    found = [device.name for device in devices[0] or devices[1]]
    if batch_size % len(found):
        raise InputError(
            f"--batch_size={batch_size} cannot be shared evenly among {len(found)} devices; "
            f"use a multiple of {len(found)}, or --strategy=none."
        )
    return tf.distribute.MirroredStrategy(found)


def jit_compile(spec: DeviceSpec) -> bool | str:
    """What `compile` takes; "auto" leaves XLA out where devices exchange statistics."""
    if spec.jit_compile == "auto" and spec.strategy == "mirrored":
        return False
    return {"auto": "auto", "on": True, "off": False}[spec.jit_compile]


def callbacks(
    spec: DeviceSpec, log_dir: str | os.PathLike, steps: int
) -> list[keras.callbacks.Callback]:
    """What `fit` needs beside: the trace of some of its `steps`, if it is asked for."""
    return [_Trace(os.fspath(log_dir), steps)] if spec.profile else []


class _Trace(keras.callbacks.Callback):
    """Traces `TRACED` steps, each marked, so that TensorBoard's plugin tells them apart."""

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
        if self._first < self._step < self._first + TRACED:  # it was stopped meanwhile
            tf.profiler.experimental.stop()
