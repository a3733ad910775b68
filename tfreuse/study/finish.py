"""The study's outcome as a model: the reusable groups, transplanted and exported."""

import pathlib

import numpy as np
import tensorflow as tf

from tfreuse import data, export, files
from tfreuse.data import drawing
from tfreuse.models import saving
from tfreuse.runners import Output
from tfreuse.study.design import Block
from tfreuse.study.recipient import Recipient, load, take
from tfreuse.training import evaluation, summaries

SAMPLES = 6  # test images shown in TensorBoard


def transplanted(
    output: Output, block: Block, groups: tuple[str, ...], out_dir: pathlib.Path
) -> None:
    """Moves `groups` into the block's recipient, recalibrates, saves and exports it.

    Writes `models/transplanted/model.keras` with `metrics.json`, `savedmodel/`, and pictures
    of input, truth and prediction before and after to the model's `tensorboard/`.
    """
    output.progress(0.1, "transplanting the reusable groups")
    recipient = load(block, out_dir / "models")
    samples = next(iter(data.evaluation_batches(recipient.test, SAMPLES)))
    before = _outputs(recipient, samples)
    if groups:
        take(recipient, groups)
        recipient.recalibrate()
    notes = _notes(recipient, groups)
    folder = out_dir / "models" / "transplanted"
    saving.save(recipient.model, folder / "model.keras")
    files.write_json(folder / "metrics.json", notes)
    pictures = _pictures(recipient, samples, before, _outputs(recipient, samples))
    log = summaries.Writer(folder / "tensorboard")
    log.pictures("input_truth_before_after", pictures, 0)
    log.flush()
    output.progress(0.6, "exporting")
    segments = recipient.train_spec.task == "segmentation"
    export.export(
        recipient.model,
        out_dir / "savedmodel",
        overwrite=True,
        class_names=recipient.test.class_names if segments else (),
        notes=notes,
        task=recipient.train_spec.task,
        reading=block.specs.data.reading,
        image_size=block.specs.data.image_size,
    )


def _outputs(recipient: Recipient, samples: dict[str, tf.Tensor]) -> np.ndarray:
    outputs = recipient.model(samples["image"], training=False)
    return np.asarray(evaluation.main_output(outputs), np.float32)


def _notes(recipient: Recipient, groups: tuple[str, ...]) -> dict:
    """Returns the donor, the groups and the metric before and after, for `metrics.json`."""
    block, counts = recipient.block, recipient.evaluate()
    return {
        "recipient": block.parts["recipient"].name,
        "donor": block.parts["transfer"].name,
        "groups": list(groups),
        "repair": "recalibration",
        "metric": recipient.before.metric,
        "before": recipient.before.value,
        "after": counts.value,
        "images": len(counts.per_image),
    }


def _pictures(
    recipient: Recipient,
    samples: dict[str, tf.Tensor],
    before: np.ndarray,
    after: np.ndarray,
) -> np.ndarray:
    """Input, truth, output before and after side by side, uint8 [N, H, 4 W, 3]."""
    images = samples["image"].numpy()
    segments = recipient.train_spec.task == "segmentation"
    truth = samples["mask"].numpy() if segments else images
    triptychs = [
        drawing.triptych(images, truth, output, recipient.test.ignore_label)
        for output in (before, after)
    ]
    width = images.shape[2]
    return np.concatenate([triptychs[0], triptychs[1][:, :, 2 * width :]], axis=2)
