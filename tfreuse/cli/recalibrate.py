"""Re-estimates the moving statistics of batch normalization on unlabelled images.

  python tools/recalibrate.py --model=M.keras --images='photos/*.jpg' --out=R.keras

For a model whose statistics are stale (weights were averaged, moved or merged) or whose images have
changed (another camera, weather, noise). Each layer gets the mean and variance of its inputs over
all images, behind layers that have theirs already; nothing else changes. Prints how far they moved
and how well so many images determine them. Writes R.keras, a copy of M.keras with the new
statistics; R.keras.undo, by which `tools/transplant.py undo --out=R.keras` turns it back into
M.keras byte for byte (M.keras must stay as it is, or --undo=copy keeps a copy); and
R.keras.run.json, how M.keras was trained, where its run.json says it. Interrupted, it has
written nothing.

--images is a folder, or a glob in quotes; for a model of several inputs a list of both by the
inputs' names: --images='left=photos/left,right=photos/right', paired in sorted order.
"""

import hashlib
import json
import pathlib
import re
import sys
import types
from collections.abc import Sequence
from typing import Any

from absl import flags

from tfreuse import files, progress, rundir, runtime
from tfreuse.cli import app, as_trained, unlabelled
from tfreuse.errors import InputError, first_names, printable
from tfreuse.specs import ReadingSpec

_GIGABYTE = 2**30


def define_flags() -> None:
    caller = __name__ if __name__ != "__main__" else sys.argv[0]
    flags.DEFINE_string("model", "", "model file, NAME.keras; never changed")
    flags.DEFINE_string("out", "", "model file to write, NAME.keras")
    unlabelled.define_flags(caller, images=", or INPUT=FOLDER,INPUT=FOLDER")
    flags.DEFINE_integer(
        "most_images", 0, "images to take, evenly spread; 0: all", lower_bound=0
    )
    share = "share of the old statistics to keep, from 0 to below 1"
    app.define_number("blend", 0.0, share, low=0, high=1, module=caller)
    flags.DEFINE_integer("batch_size", 32, "images computed at a time", lower_bound=1)
    flags.DEFINE_boolean(
        "one_pass",
        False,
        "normalize each batch by its own moments, as in training: for images that do not fit "
        "in --memory; not exact for more than one batch",
    )
    waiting = "GB for what waits between layers; 0: a quarter of this machine's"
    app.define_number("memory", 0.0, waiting, low=0, module=caller)
    app.define_undo()
    flags.DEFINE_boolean(
        "overwrite",
        False,
        "replace an existing file, whose content undo does not bring back",
    )
    flags.DEFINE_boolean("json", False, "print JSON")


def main() -> None:
    for name in ("model", "images", "out"):
        if not app.FLAGS[name].value:
            raise InputError(f"--{name} is not given; see --help.")
    from tfreuse.checkpoints import loadable

    path, out = app.FLAGS.model, app.FLAGS.out
    loadable.check(path, "model")
    paths = _paths(app.FLAGS.images)
    as_trained.take(path, {"data": ("image_size", *ReadingSpec.__dataclass_fields__)})
    size = unlabelled.image_size()
    runtime.start()
    from tfreuse.models import saving
    from tfreuse.training import recalibrated

    recalibrated.check_out(path, out, app.FLAGS.overwrite)
    source = rundir.settings_file(path) if app.trained(path) else None
    copying = rundir.copying_settings(source, out, overwrite=app.FLAGS.overwrite)
    with copying as settings:
        model = saving.load(path)
        images = _images(model, paths, size)
        done = _recalibrate(recalibrated, model, images)
        facts = _facts(paths, images) | {"passes": done.passes}
        written = recalibrated.save(
            model, path, out, facts, overwrite=app.FLAGS.overwrite, undo=app.FLAGS.undo
        )
    if app.FLAGS.json:
        value = done.to_json() | {"out": out, "undo": written.undo_path}
        value["settings"] = str(settings) if source else None
        print(json.dumps(value, indent=2, sort_keys=True, allow_nan=False))
        return
    print(done.text())
    if done.unreached:
        print(f"note: images do not reach {first_names(done.unreached)}: unchanged")
    print(
        f"{printable(out)}: {printable(path)} with {written.variables} variables re-estimated\n"
        f"{printable(written.undo_path)}: {app.undo_reach(out, path)}"
    )


def _recalibrate(recalibrated: types.ModuleType, model: Any, images: Any) -> Any:
    with progress.Display(1.0) as display:
        return recalibrated.recalibrate(
            model,
            images,
            blend=app.FLAGS.blend,
            batch_size=app.FLAGS.batch_size,
            one_pass=app.FLAGS.one_pass,
            memory=int(app.FLAGS.memory * _GIGABYTE) or None,
            report=lambda share: display.update(share, "layer by layer"),
        )


def _paths(pattern: str) -> dict[str, list[pathlib.Path]]:
    """Returns the images of each input by its name; "" is the only input's."""
    from tfreuse.data import picture_files

    parts = re.split(r",(?=[^,=/]+=)", pattern)
    by_input = all(re.match(r"[^=/*?]+=.", part) for part in parts)
    patterns = dict(part.split("=", 1) for part in parts) if by_input else {"": pattern}
    paths = {name: picture_files.matching(glob) for name, glob in patterns.items()}
    counts = sorted({len(names) for names in paths.values()})
    if len(counts) > 1:
        raise InputError(
            f"--images={printable(pattern)}: every input takes as many images; got "
            f"{' and '.join(map(str, counts))}."
        )
    most = app.FLAGS.most_images or counts[0]
    return {name: picture_files.spread(names, most) for name, names in paths.items()}


class _Pictures:
    """Image files as an array [N, H, W, C] of which slices are read."""

    def __init__(
        self, paths: Sequence[pathlib.Path], size: tuple[int, int], channels: int
    ) -> None:
        from tfreuse.training import statistics_check

        self.size, self._paths, self._channels = size, paths, channels
        self._scale = statistics_check.scaling(app.FLAGS.pixels, channels)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, part: slice) -> Any:
        import numpy as np

        pixels = unlabelled.read(self._paths[part], self.size, self._channels)
        return self._scale(pixels.astype(np.float32))


def _images(
    model: Any, paths: dict[str, list[pathlib.Path]], size: tuple[int, int] | None
) -> _Pictures | list[_Pictures]:
    """Returns the images as the model takes them."""
    from tfreuse.training import statistics_check

    inputs = list(getattr(model, "inputs", None) or [])
    names = [tensor.name for tensor in inputs]
    if len(inputs) < 2 and [*paths] == [""]:
        return _Pictures(paths[""], *statistics_check.taken_images(model, size))
    if sorted(names) != sorted(paths):
        example = ",".join(f"{printable(name, 60)}=FOLDER" for name in names)
        raise InputError(
            f"the model's inputs are {first_names(names)}; type --images="
            f"{example if len(names) > 1 else 'FOLDER'}."
        )
    pictures = []
    for tensor in inputs:
        alone = types.SimpleNamespace(inputs=[tensor])  # each is checked by itself
        form = statistics_check.taken_images(alone, size)
        pictures.append(_Pictures(paths[tensor.name], *form))
    return pictures


def _facts(
    paths: dict[str, list[pathlib.Path]], images: _Pictures | list[_Pictures]
) -> dict[str, Any]:
    """Returns the facts on the images for the output's provenance."""
    digest = hashlib.sha256()
    for path in (path for names in paths.values() for path in names):
        digest.update(files.file_digest(path).encode())
    pictures = images if isinstance(images, list) else [images]
    return {
        "images": len(pictures[0]),
        "files": app.FLAGS.images,
        "sha256": digest.hexdigest(),
        "pixels": app.FLAGS.pixels,
        "image_size": [list(picture.size) for picture in pictures],
        "blend": app.FLAGS.blend,
        "batch_size": app.FLAGS.batch_size if app.FLAGS.one_pass else None,
    }


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
