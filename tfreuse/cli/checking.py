"""The verb check of tools/transplant.py: do the statistics fit the images?"""

import json
import pathlib

from absl import flags

from tfreuse import files, progress, runtime
from tfreuse.cli import app, as_trained
from tfreuse.errors import InputError, printable
from tfreuse.specs import ReadingSpec

_IMAGES = 48
_PIXELS = ("0..1", "-1..1", "0..255", "imagenet", "caffe")


FLAG_NAMES = (
    *("images", "pixels", "image_size", "most_images", "out_dir"),
    *ReadingSpec.__dataclass_fields__,
)


def define_flags(caller: str) -> None:
    """Defines the flags that no other verb takes; `caller`: module of the command."""
    of_caller = {"module_name": caller}
    flags.DEFINE_string(
        "images", "", "check: folder of images, or a glob in quotes", **of_caller
    )
    flags.DEFINE_enum(
        "pixels",
        _PIXELS[0],
        _PIXELS,
        "check: what the model takes: RGB in a range; imagenet: RGB in 0..1, less mean, over sd "
        "(torchvision, timm); caffe: BGR in 0..255, less mean (VGG, ResNet50 of Keras)",
        **of_caller,
    )
    flags.DEFINE_list(
        "image_size",
        [],
        "check: height,width; by default the model's, else its training's, else 224,224",
        **of_caller,
    )
    flags.DEFINE_integer(
        "most_images",
        _IMAGES,
        "check: images to take, evenly spread",
        lower_bound=1,
        **of_caller,
    )
    flags.DEFINE_string(
        "out_dir",
        "",
        "check: folder for check.json, check.png and check.svg",
        **of_caller,
    )
    app.define(ReadingSpec, caller=caller)


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
    size, channels = statistics_check.taken_images(model, _image_size())
    images = _read(paths, size, channels)
    display = progress.Display(1.0)

    def report(share: float, pixels: str) -> None:
        display.update(share, f"{len(images)} images, pixels {pixels}")

    try:
        check = statistics_check.check(
            model,
            images,
            app.FLAGS.pixels,
            report,
            layers=app.FLAGS.layers,
            transplanted=_transplanted(path),
        )
    finally:
        display.close()
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


def _image_size() -> tuple[int, int] | None:
    """Returns the flag's size, None if it is not given. Raises InputError."""
    words = app.FLAGS.image_size
    if not words:
        return None
    if len(words) != 2 or not all(word.isdecimal() and int(word) for word in words):
        raise InputError(
            "--image_size takes height,width in pixels, e.g. 224,224; got "
            f"{printable(','.join(words))}."
        )
    return int(words[0]), int(words[1])


def _read(paths: list[pathlib.Path], size: tuple[int, int], channels: int):
    """Reads images of one size, uint8 [N, H, W, C]."""
    import numpy as np

    from tfreuse.data import pictures

    reading = app.spec(ReadingSpec)
    return np.stack(
        [
            pictures.fit_image(
                pictures.read_image(path, channels, reading).pixels, size
            )
            for path in paths
        ]
    )


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
