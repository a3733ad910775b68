"""The outcome as a model: what the study found reusable, transplanted and exported."""

import pathlib

import numpy as np

from tfreuse import data, export, files
from tfreuse.data import drawing
from tfreuse.models import saving
from tfreuse.runners import Output
from tfreuse.study.bench import Bench
from tfreuse.study.design import Block
from tfreuse.training import evaluation, summaries

SAMPLES = 6  # test images shown in TensorBoard


def transplanted(
    output: Output, block: Block, groups: tuple[str, ...], out_dir: pathlib.Path
) -> None:
    """Moves `groups` into the block's recipient, recalibrates, saves and exports it.

    Writes `models/transplanted/model.keras` with `metrics.json`, `savedmodel/`, and pictures
    of input, truth and prediction before and after to the model's `tensorboard/`.
    """
    output.progress(0.1, "transplanting what was found reusable")
    bench = Bench(block, out_dir / "models")
    samples = next(iter(data.evaluation_batches(bench.test, SAMPLES)))
    before = _outputs(bench.model, samples)
    if groups:
        bench.take(groups)
        bench.recalibrate()
    notes = _notes(bench, groups)
    folder = out_dir / "models" / "transplanted"
    saving.save(bench.model, folder / "model.keras")
    files.write_json(folder / "metrics.json", notes)
    pictures = _pictures(bench, samples, before, _outputs(bench.model, samples))
    log = summaries.Writer(folder / "tensorboard")
    log.pictures("input_truth_before_after", pictures, 0)
    log.flush()
    output.progress(0.6, "exporting")
    names = bench.test.class_names if bench.train_spec.task == "segmentation" else ()
    export.export(
        bench.model,
        out_dir / "savedmodel",
        overwrite=True,
        class_names=names,
        notes=notes,
    )


def _outputs(model, samples) -> np.ndarray:
    output = evaluation.main_output(model(samples["image"], training=False))
    return np.asarray(output, np.float32)


def _notes(bench: Bench, groups: tuple[str, ...]) -> dict:
    """What was moved where, and what that did to the metric."""
    block, counts = bench.block, bench.evaluate()
    return {
        "recipient": block.parts["recipient"].name,
        "donor": block.parts["transfer"].name,
        "groups": list(groups),
        "repair": "recalibration",
        "metric": evaluation.METRIC[bench.train_spec.task],
        "before": bench.before.value,
        "after": counts.value,
        "images": len(counts.per_image),
    }


def _pictures(bench: Bench, samples, before, after) -> np.ndarray:
    """Input, truth, output before and after side by side, uint8 [N, H, 4 W, 3]."""
    images = samples["image"].numpy()
    segments = bench.train_spec.task == "segmentation"
    truth = samples["mask"].numpy() if segments else images
    shown = [
        drawing.triptych(images, truth, output, bench.test.ignore_label)
        for output in (before, after)
    ]
    width = images.shape[2]
    return np.concatenate([shown[0], shown[1][:, :, 2 * width :]], axis=2)
