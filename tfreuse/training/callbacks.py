"""Callbacks of `fit`: progress, and validation with logs and checkpoints.

graph.fit(..., callbacks=[callbacks.Checkpoints(session, spec, out_dir)])
"""

import contextlib
import math
import pathlib
from collections.abc import Callable, Collection

import keras
import numpy as np

from tfreuse import files
from tfreuse.data import drawing
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.specs import TrainSpec
from tfreuse.training import evaluation, summaries

Report = Callable[[int, str], None]  # (steps done, event)
SAMPLES = 4  # images shown in TensorBoard, the first of the validation split


class Progress(keras.callbacks.Callback):
    """Reports the number of steps done, and stops the training after the last."""

    def __init__(self, report: Report, done: int, steps: int) -> None:
        super().__init__()
        self._report, self._done, self._steps = report, done, steps

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        self._report(self._done, "")
        if self._done >= self._steps:
            self.model.stop_training = True


def kept_path(out_dir: pathlib.Path, updates: int) -> pathlib.Path:
    """Returns the file of the network as it was after that many updates of its training."""
    return out_dir / f"update-{updates}.keras"


class Keep(keras.callbacks.Callback):
    """Writes the network as it is after chosen numbers of updates, of which 0 is its start.

    A training that was killed repeats its last period with the same data, and writes the same
    networks again.

    Args:
        model: the plain model; `fit` trains a view of it.
        ages: numbers of updates.
        done: updates before this fit.
        out_dir: directory of the run.
    """

    def __init__(
        self,
        model: keras.Model,
        ages: Collection[int],
        done: int,
        out_dir: pathlib.Path,
    ) -> None:
        super().__init__()
        self._plain, self._ages, self._out_dir = model, ages, out_dir
        self._done = done

    def on_train_begin(self, logs=None):
        self._save()

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        self._save()

    def _save(self) -> None:
        if self._done in self._ages:
            saving.save(self._plain, kept_path(self._out_dir, self._done))


class Checkpoints(keras.callbacks.Callback):
    """Validates, logs and writes checkpoints at the end of each period.

    Order: history, best model, last model. After a kill between two of them the period is
    repeated from the last model, with the same data, and writes the same files again.

    Args:
        session: the `session.Session` that trains.
        spec: settings of the training.
        out_dir: directory of the run.
    """

    def __init__(self, session, spec: TrainSpec, out_dir: pathlib.Path) -> None:
        super().__init__()
        self._plain, self._out_dir = session.model, out_dir
        self._spec, self._split = spec, session.validation_split
        self._evaluate, self._statistics = session.validate, session.statistics
        self._history_path = out_dir / "history.json"
        history = (
            files.read_json(self._history_path) if self._history_path.exists() else []
        )
        # Rows behind the last model are of a period that will be repeated.
        done = int(self._plain.optimizer.iterations.numpy())
        self._history = [row for row in history if row["step"] <= done]
        self._train_log = summaries.Writer(out_dir / "tensorboard" / "train")
        self._validation_log = summaries.Writer(out_dir / "tensorboard" / "validation")
        self._images, self._truth = (
            part[:SAMPLES].numpy() for part in self._evaluate.batches[0]
        )

    def on_epoch_end(self, epoch, logs=None):
        step = int(self._plain.optimizer.iterations.numpy())
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"the loss is {logs['loss']} at step {step}; try a lower --learning_rate "
                f"than {self._spec.learning_rate:g}."
            )
        with self._recalibrated():
            self._validate(step, logs)
        saving.save(self._plain, self._out_dir / "last.keras", random_states=True)

    @contextlib.contextmanager
    def _recalibrated(self):
        """Re-estimates statistics in this block; the training goes on with its own."""
        if not self._statistics:
            yield
            return
        variables = [v for layer in self._statistics.layers for v in layer.weights]
        before = [variable.numpy() for variable in variables]
        try:
            self._statistics()
            yield
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)

    def _validate(self, step: int, logs: dict[str, float]) -> None:
        counts = self._evaluate()
        self._log(step, logs, counts)
        best = max((row["value"] for row in self._history), default=-math.inf)
        self._history.append(
            {"step": step, "loss": logs["loss"], "value": counts.value}
        )
        files.write_json(self._history_path, self._history)
        if counts.value > best:
            saving.save(self._plain, self._out_dir / "model.keras")

    def _log(self, step: int, logs: dict[str, float], counts) -> None:
        rate = self._plain.optimizer.learning_rate
        self._train_log.scalars(logs | {"learning_rate": float(rate)}, step)
        self._train_log.batch_norms(self._plain, step)
        self._train_log.roles(self._plain, step)
        values = {evaluation.METRIC[self._spec.task]: counts.value}
        summary = counts.summary(self._split.class_names if self._segments else ())
        if self._segments:
            values["pixel_accuracy"] = summary["pixel_accuracy"]
            for name, value in summary["per_class_iou"].items():
                values[f"iou/{name}"] = value
        else:
            values["psnr"] = summary["psnr"]
        self._validation_log.scalars(values, step)
        output = evaluation.main_output(self._plain(self._images, training=False))
        pictures = drawing.triptych(
            self._images,
            self._truth,
            np.asarray(output, np.float32),
            self._split.ignore_label,
        )
        self._validation_log.pictures("input_truth_prediction", pictures, step)
        self._train_log.flush()
        self._validation_log.flush()

    @property
    def _segments(self) -> bool:
        return self._spec.task == "segmentation"
