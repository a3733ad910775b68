"""The verb check of tools/transplant.py: do the statistics fit the images?"""

import json
import pathlib

from absl import flags

from tfreuse import files, progress, runtime
from tfreuse.cli import app, as_trained, unlabelled
from tfreuse.errors import InputError, printable
from tfreuse.specs import ReadingSpec

_IMAGES = 48
FLAG_NAMES = (*unlabelled.FLAG_NAMES, "most_images", "out_dir")


def define_flags(caller: str) -> None:
    """Defines the flags that no other verb takes; `caller`: module of the command."""
    unlabelled.define_flags(caller, prefix="check: ")
    flags.DEFINE_integer(
        "most_images",
        _IMAGES,
        "check: images to take, evenly spread",
        lower_bound=1,
        module_name=caller,
    )
    flags.DEFINE_string(
        "out_dir",
        "",
        "check: folder for check.json, check.png and check.svg",
        module_name=caller,
    )


def main(path: str) -> None:
    """Checks the model file at `path` by the images of the flags."""
    if not app.FLAGS.images:
        raise InputError("--images is not given: which images, such as 'photos/*.jpg'?")
    from tfreuse.checkpoints import loadable
    from tfreuse.data import picture_files

    loadable.check(path, "model")
    paths = picture_files.matching(app.FLAGS.images)
    paths = picture_files.spread(paths, app.FLAGS.most_images)
    as_trained.take(path, {"data": ("image_size", *ReadingSpec.__dataclass_fields__)})
    runtime.start()
    from tfreuse.models import saving
    from tfreuse.training import statistics_check

    model = saving.load(path)
    size, channels = statistics_check.taken_images(model, unlabelled.image_size())
    images = unlabelled.read(paths, size, channels)
    with progress.Display(1.0) as display:

        def report(share: float, pixels: str) -> None:
            display.update(share, f"{len(images)} images, pixels {pixels}")

        check = statistics_check.check(
            model,
            images,
            app.FLAGS.pixels,
            report,
            layers=app.FLAGS.layers,
            transplanted=_transplanted(path),
        )
    if app.FLAGS.out_dir and check.layers:
        _write(check, path, app.out_dir())
    if app.FLAGS.json:
        print(json.dumps(check.to_json(), indent=2, sort_keys=True, allow_nan=False))
        return
    if check.layers:
        (height, width), count = size, len(check.layers)
        print(
            f"{printable(path)}: {count} batch normalization{'s' * (count != 1)}, {len(images)} "
            f"images of {height} x {width} pixels"
        )
        print(check.table())
    print(check.answer)


def _transplanted(path: str) -> str:
    """Returns the donor by the file's provenance, "" if there is none."""
    from tfreuse import checkpoints

    try:
        with checkpoints.open(path) as file:
            provenance = file.provenance
    except InputError:  # packed by another program, as Keras reads it too
        return ""
    donor = provenance.get("donor") if isinstance(provenance, dict) else None
    fields = donor if isinstance(donor, dict) else {}
    return str(fields.get("file", fields.get("model", "")))


def _write(check, path: str, out_dir: pathlib.Path) -> None:
    """Writes check.json, check.png and check.svg."""
    from tfreuse.report.figures import canvas, statistics

    title = f"{pathlib.Path(path).name}, {check.images} images, pixels {check.pixels}"
    figure = statistics.draw(check.layers, title, check.headline)
    files.write_json(out_dir / "check.json", {"model": path} | check.to_json())
    for name, data in (
        ("check.png", canvas.picture(figure)),
        ("check.svg", canvas.vector(figure)),
    ):
        with files.replacing(out_dir / name) as temporary:
            temporary.write_bytes(data)
