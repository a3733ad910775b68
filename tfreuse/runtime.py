"""Starts TensorFlow: without messages, with memory growth, with a number of threads."""

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any


class Lazy:
    """A module that is imported when one of its names is first used.

    For packages that check files before anything is computed: TensorFlow's import takes seconds.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


def start(threads: int = 0, deterministic: bool = False) -> None:
    """Imports and configures TensorFlow; must be called before any other use of it.

    Args:
        threads: number of CPU threads; 0 for TensorFlow's default.
        deterministic: whether to use deterministic kernels on a GPU too.
    """
    # On CPUs without AVX512 oneDNN is off by default, and its kernels train 10-45 % faster.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _without_start_up_messages():
        import keras  # noqa: F401
        import tensorflow as tf

        # Loads the GPU driver, which writes messages too.
        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    # Functions that are traced again are warned of, which is of use to programmers alone.
    tf.get_logger().setLevel("ERROR")
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def _without_start_up_messages() -> Iterator[None]:
    """Captures stderr, that of C++ too; prints it only if the block fails.

    TensorFlow writes its build options there before it reads any log level.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as captured:
        stderr = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except BaseException:
            captured.seek(0)
            os.write(stderr, captured.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
