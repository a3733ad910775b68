"""Names that Keras makes up, as a new process would count them.

    counters = Counters()        # before the layers are made
    model = keras.applications.InceptionV3(include_top=False, weights=None)
    counters.reset_names(model)  # conv2d_17, conv2d_18, ... -> conv2d, conv2d_1, ...

Keras counts the unnamed layers of each class as long as a process lives, so that the names of a
network tell what its process built before. Names are what layers are paired by.
"""

import re
from collections.abc import Iterator

import keras

from tfreuse.transplant import live


class Counters:
    """Numbers of the names that Keras has made up so far in this process, by class."""

    def __init__(self) -> None:
        kinds = {_prefix(kind) for kind in _subclasses(keras.Operation)}
        # Each call takes a number: names that are made up from now on begin with its result.
        self._first = {prefix: keras.backend.get_uid(prefix) for prefix in kinds}

    def reset_names(self, model: keras.Model) -> None:
        """Renames what Keras has named since then, at every depth of a model and itself.

        Names are as in a process that had made none before: of conv2d_17 and conv2d_19, made
        after 17 others, conv2d and conv2d_2. Given names stay, even conv2d_1.
        """
        end = {prefix: keras.backend.get_uid(prefix) - 1 for prefix in self._first}
        for operation in _operations(model):
            prefix = _prefix(type(operation))
            number = re.fullmatch(rf"{re.escape(prefix)}_(\d+)", operation.name)
            first = self._first.get(prefix, 0)
            if number and 0 < first <= int(number[1]) < end[prefix]:
                count = int(number[1]) - first
                operation.name = f"{prefix}_{count}" if count else prefix


def _operations(model: keras.Model) -> Iterator[keras.Operation]:
    """Yields a model, its layers at every depth, and operations of `keras.ops` in its graphs."""
    for layer in (model, *(layer for _, layer in live.every_layer(model))):
        yield layer
        for operation in getattr(layer, "operations", ()):
            if not isinstance(operation, keras.Layer):
                yield operation


def _subclasses(kind: type) -> Iterator[type]:
    yield kind
    for below in kind.__subclasses__():
        yield from _subclasses(below)


def _prefix(kind: type) -> str:
    """Returns the name that Keras makes of a class: "up_sampling2d" of UpSampling2D."""
    starts_of_words = r"(?<=[a-z])(?=[A-Z])|(?<!^)(?=[A-Z][a-z])"
    return re.sub(starts_of_words, "_", kind.__name__).lower()
