"""Starts TensorFlow in this process: quietly, with memory growth, on so many threads."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


def start(threads: int = 0, deterministic: bool = False) -> None:
    """Imports TensorFlow and sets it up; call it before anything else uses TensorFlow.

    Args:
        threads: CPU threads to use; 0 leaves it to TensorFlow.
        deterministic: use deterministic kernels on a GPU too.
    """
    # oneDNN's kernels train 10-45 % faster on CPUs without AVX512, where they are off.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _without_start_up_messages():
        import keras  # noqa: F401
        import tensorflow as tf

        # Loads the driver, or says why not.
        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def _without_start_up_messages() -> Iterator[None]:
    """Holds back what C++ writes to stderr; shows it if the block fails.

    TensorFlow announces its build options there before any log level is in force.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
