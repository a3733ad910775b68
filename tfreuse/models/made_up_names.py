"""Names that Keras makes up for layers, as in a new process.

    model = counted_anew(lambda: keras.applications.InceptionV3(include_top=False, weights=None))
    model.get_layer("conv2d")  # not conv2d_94, if it is the second such network

Keras counts the unnamed layers of each class, so that the names in a network depend on the
networks that its process built before. Layers are paired by name.
"""

from collections.abc import Callable
from concurrent import futures
from typing import TypeVar

import keras

_T = TypeVar("_T")


def counted_anew(make: Callable[[], _T]) -> _T:
    """Returns the result of a function that makes layers, whose made-up names begin anew.

    It is called in a thread of its own: Keras counts the names of each thread by themselves, and
    those of this thread go on as if it had not been called. The policy of data types holds there
    too, but no scope of tf.distribute.

    Raises:
        Exception: what the function raises.
    """
    policy = keras.config.dtype_policy()

    def call() -> _T:
        keras.config.set_dtype_policy(policy)
        return make()

    with futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
