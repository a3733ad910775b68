"""Starts TensorFlow without messages, with memory growth; keeps libraries quiet."""

import contextlib
import importlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

from tfreuse.errors import InputError, printable

_LINES_SHOWN = 20  # last lines of the captured text; compilers write pages


class Lazy:
    """A module that is imported when one of its names is first used.

    For packages that check files before anything is computed: TensorFlow's import takes seconds.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


def load() -> None:
    """Imports TensorFlow and Keras, which starts no thread: a fork may follow."""
    # On CPUs without AVX512 oneDNN is off by default, and its kernels train 10-45 % faster.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # As it comes, TensorFlow prepares the gradient of each kernel anew in every training step
    # (findings/onednn_prepares_kernel_gradients_in_every_step.sh).
    os.environ.setdefault("TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE", "false")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with quiet():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


def start(threads: int = 0, deterministic: bool = False) -> None:
    """Imports and configures TensorFlow; must be called before any other use of it.

    Args:
        threads: number of CPU threads; 0 for TensorFlow's default.
        deterministic: whether to use deterministic kernels on a GPU too.
    """
    load()
    import tensorflow as tf

    with quiet():
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


def seed(number: int, *, tensorflow: bool = True) -> None:
    """Seeds the generators of Python, NumPy, Keras and TensorFlow.

    Args:
        number: the seed.
        tensorflow: False leaves TensorFlow's generator as it is, from which Keras's layers and
            initializers draw nothing. Seeding it makes TensorFlow drop every function that it has
            prepared to run, and optimize each again: half of the time of a unit of work.
    """
    import keras
    import tensorflow as tf

    # Inside, Keras seeds this graph, which nothing uses, in place of TensorFlow's generator.
    elsewhere = contextlib.nullcontext() if tensorflow else tf.Graph().as_default()
    with elsewhere:
        keras.utils.set_random_seed(number)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps warnings, logs and stderr of libraries off the terminal; shows its end on failure.

    TensorFlow and its converters write to stderr from C++, some of it before they read any log
    level, so that the file descriptor is captured. Nothing is shown for an InputError, whose
    own message is enough.
    """
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx", "absl")]
    levels = [logger.level for logger in loggers]
    # In notebooks loggers do not write to the file descriptor.
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    sys.stderr.flush()
    with warnings.catch_warnings(), tempfile.TemporaryFile() as captured:
        warnings.simplefilter("ignore")
        stderr = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except BaseException as error:
            sys.stderr.flush()
            if not isinstance(error, InputError | KeyboardInterrupt):
                captured.seek(0)
                lines = captured.read().decode(errors="replace").splitlines()
                for line in lines[-_LINES_SHOWN:]:
                    os.write(stderr, f"{printable(line, 300)}\n".encode())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
