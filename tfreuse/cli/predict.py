"""Runs an exported model on image files.

  python tools/predict.py --model=served --images=photos --out_dir=predictions

Writes, for each image, OUT_DIR/<stem>_mask.png (labels as grey values) and
<stem>_overlay.png (the labels' colours over the image) for a segmentation, or
<stem>_reconstruction.png for an auto-encoder; and OUT_DIR/shares.csv, the share of each class
in each image. --images is a folder, or a glob in quotes such as 'photos/**/*.jpg'. Images may
have any size: they are scaled as in the training, and the outputs back; large ones are processed
in tiles. Files that are no readable images, or that need another export, are named, the others
predicted, and the exit status is 1. After an interruption, the same command goes on.
"""

import pathlib
import sys

from absl import flags

from tfreuse import progress, runtime
from tfreuse.cli import app
from tfreuse.errors import InputError, first_names, printable
from tfreuse.specs import PredictSpec


def define_flags() -> None:
    flags.DEFINE_string("model", "", "directory that tools/export.py wrote to")
    flags.DEFINE_string(
        "images", "", "folder of images, or a glob in quotes; ** matches any folder"
    )
    flags.DEFINE_string("out_dir", "", "directory for the predictions")
    app.define(PredictSpec)


def main() -> None:
    for name in ("model", "images", "out_dir"):
        if not app.FLAGS[name].value:
            raise InputError(f"--{name} is not given; see --help.")
    from tfreuse import prediction  # here, since it imports NumPy: --help is faster

    folder = pathlib.Path(app.FLAGS.out_dir)
    prediction.check_out_dir(pathlib.Path(app.FLAGS.model), folder)
    paths = prediction.images(app.FLAGS.images, folder)
    spec = app.spec(PredictSpec)
    runtime.start()
    predictor = prediction.Predictor(app.FLAGS.model, spec)
    print(predictor.describe_scale())
    if predictor.statistics == "batch":
        print(
            "note: the export has --statistics=batch: each image, or tile of one, is normalized "
            "by itself"
        )
    with app.sole_out_dir("this prediction", holds="predictions.json") as out_dir:
        prediction.claim(predictor, out_dir)
        todo = [path for path in paths if not prediction.done(predictor, path, out_dir)]
        failed = _predict(prediction, predictor, todo, out_dir)
        done = [path for path in paths if path not in failed]
        prediction.tabulate(predictor, done, out_dir)
    before = len(paths) - len(todo)
    earlier = f", {before} of them by an earlier run" if before else ""
    print(
        f"{len(done)} image{'s' * (len(done) != 1)} predicted ({predictor.task}){earlier}: {out_dir}"
    )
    if not failed:
        return
    from tfreuse.data.pictures import ReadingError

    of_export = {p: e for p, e in failed.items() if isinstance(e, ReadingError)}
    unreadable = {p: e for p, e in failed.items() if p not in of_export}
    lines = [f"{printable(p)}: {printable(e, 1000)}" for p, e in unreadable.items()]
    for line in (*lines, *_causes(of_export)):
        print(f"not predicted: {line}", file=sys.stderr)
    remedy = ""
    if unreadable:
        which = f"the {len(unreadable)} unreadable" if of_export else "them"
        remedy = f" Replace or remove {which} and run the same command again."
    raise InputError(f"{len(failed)} of {len(paths)} files were not predicted.{remedy}")


def _causes(errors: dict) -> list[str]:
    """Returns a line for each cause of `ReadingError`s by path, with the export's flag."""
    lines, by_cause = [], {}
    for path, error in errors.items():
        by_cause.setdefault(error.cause, []).append((path, error.flag))
    for cause, images in by_cause.items():
        names = first_names(printable(path.name, 60) for path, _ in images)
        lines.append(
            f"{names}: {cause}. Give images as in the training, or export the model "
            f"again with tools/export.py {images[0][1]}"
        )
    return lines


def _predict(
    prediction, predictor, paths: list[pathlib.Path], out_dir: pathlib.Path
) -> dict[pathlib.Path, InputError]:
    """Predicts the images; returns those that it cannot predict, with the error."""
    failed: dict[pathlib.Path, InputError] = {}
    with progress.Display(len(paths)) as display:
        for i, path in enumerate(paths):
            name = printable(path.name)
            tail = f", {len(failed)} failed" if failed else ""

            def report(share: float, i=i, name=name, tail=tail) -> None:
                display.update(i + share, f"image {i + 1}/{len(paths)} {name}{tail}")

            report(0.0)
            try:
                prediction.write(predictor, path, out_dir, report)
            except InputError as error:
                failed[path] = error
    return failed


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
