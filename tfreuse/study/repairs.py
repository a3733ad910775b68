"""Repairs beyond recalibration: a stitch at the end of a stage, and fine-tuning.

probe = Probe(model, layers, images, positions=2048)
before = probe(layer)                   # features [n, C]
...                                     # a transplant
stitches = Stitches(model)              # a view of the model, stitches open
stitches.close(stage, probe(layer), before)
stitches.model                          # to be evaluated
stitches.open()
"""

import keras
import numpy as np
import tensorflow as tf

from tfreuse import data, models, training
from tfreuse.models import saving
from tfreuse.specs import TrainSpec
from tfreuse.training.sweep import Sweep


class Probe:
    """Outputs of chosen layers at the same random positions of the same images.

    Args:
        model: functional.
        names: layers with outputs [N, H, W, C].
        images: float32 [N, H, W, C'].
        positions: number of pixels of each layer's output, at most, over all images.
    """

    def __init__(
        self, model: keras.Model, names: list[str], images: np.ndarray, positions: int
    ) -> None:
        outputs = {name: model.get_layer(name).output for name in names}
        graph = keras.Model(model.input, outputs)

        def features(images):
            return {
                name: _some_rows(output, positions)
                for name, output in graph(images, training=False).items()
            }

        self.sweep = Sweep(features, [(tf.constant(images),)])

    def __call__(self, name: str) -> np.ndarray:
        """Computes the features [n, C] of one layer with the model's present values."""
        return np.asarray(self.sweep(name)[0], np.float32)

    def all(self) -> dict[str, np.ndarray]:
        """Computes the features [n, C] of each layer."""
        features = self.sweep()[0]
        return {name: np.asarray(rows, np.float32) for name, rows in features.items()}


def _some_rows(output: tf.Tensor, positions: int) -> tf.Tensor:
    """[N, H, W, C] -> [n, C], n at most `positions`; the same positions every time."""
    rows = tf.reshape(output, [-1, output.shape[-1]])
    count = tf.shape(rows)[0]
    order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=[0, 0])
    return tf.gather(rows, order[:positions])


class Stitches:
    """A view of a model with a 1x1 convolution at the end of every stage, open at first.

    A closed stitch maps, by least squares, the transplanted stage's output to the output of the
    recipient's original stage on the same unlabelled images (direct matching, Csiszarik et al.
    2021, arXiv:2110.14633). An open stitch is the identity, to the bit.

    Attributes:
        model: the view; its layers and values are those of the model.
    """

    def __init__(self, model: keras.Model) -> None:
        ends = {name: stage for stage, name in models.stage_ends(model).items()}
        self._stitches: dict[str, _Stitch] = {}

        def call(layer, *args, **kwargs):
            output = layer(*args, **kwargs)
            stage = ends.get(layer.name)
            if stage is None or stage in ("head", "auxiliary"):
                return output
            self._stitches[stage] = _Stitch(output.shape[-1], name=f"stitch_{stage}")
            return self._stitches[stage](output)

        self.model = keras.models.clone_model(
            model, clone_function=lambda layer: layer, call_function=call
        )

    def close(self, stage: str, features: np.ndarray, targets: np.ndarray) -> None:
        """Fits the stage's stitch from `features` [n, C] to `targets` [n, C]."""
        rows = np.concatenate([features, np.ones_like(features[:, :1])], axis=1)
        solution, *_ = np.linalg.lstsq(rows.astype(np.float64), targets, rcond=None)
        self._stitches[stage].set(solution[:-1], solution[-1])

    def open(self) -> None:
        """Makes every stitch the identity again."""
        for stitch in self._stitches.values():
            stitch.set(np.eye(stitch.channels), np.zeros(stitch.channels))


class _Stitch(keras.layers.Layer):
    """[..., C] -> [..., C], a linear map of the channels.

    While it is open its branch of `tf.cond` copies the input: a product with the identity
    matrix would cost time and could change the last bit.
    """

    def __init__(self, channels: int, name: str) -> None:
        super().__init__(name=name)
        self.channels = channels
        shape = {"kernel": (channels, channels), "bias": (channels,)}
        self.kernel, self.bias = (
            self.add_weight(shape=s, name=n, trainable=False) for n, s in shape.items()
        )
        self.closed = self.add_weight(
            shape=(), dtype="bool", initializer="zeros", trainable=False, name="closed"
        )

    def set(self, kernel: np.ndarray, bias: np.ndarray) -> None:
        self.kernel.assign(kernel)
        self.bias.assign(bias)
        self.closed.assign(not np.array_equal(kernel, np.eye(self.channels)))

    def call(self, inputs):
        return tf.cond(
            self.closed.value,
            lambda: (
                inputs @ tf.cast(self.kernel, inputs.dtype)
                + tf.cast(self.bias, inputs.dtype)
            ),
            lambda: tf.identity(inputs),
        )


class FineTuner:
    """Trains a model for a few steps from its present values, the same way in every call.

    Every call has the same batches in the same order, the same draws of dropout, a fresh optimizer
    state, and a tenth of the study's learning rate without warm-up. The caller restores the values.
    """

    def __init__(
        self, model: keras.Model, split: data.Split, spec: TrainSpec, steps: int
    ) -> None:
        self._optimizer = training.adamw(spec.learning_rate / 10, spec)
        self._optimizer.build(model.trainable_variables)
        self._states = [*self._optimizer.variables, *saving.seed_states(model)]
        self._start = [variable.numpy() for variable in self._states]
        self._graph = training.trainable(
            model, self._optimizer, spec.task, split.ignore_label
        )
        self._batches = list(training.batches(self._graph, split, spec).take(steps))

    def __call__(self) -> None:
        for variable, value in zip(self._states, self._start, strict=True):
            variable.assign(value)
        for batch in self._batches:  # images, targets and, with class weights, weights
            self._graph.train_on_batch(*batch)
