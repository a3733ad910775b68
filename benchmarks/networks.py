"""The networks whose training is timed, their data, and the expected results.

    networks.make(case, folder)   # writes FOLDER/CASE.npz and FOLDER/CASE.json

The data are noise whose labels can be learned from its brightness. Plain Keras in float32
is the reference: its number of parameters, first logits and first losses.
"""

import dataclasses
import json
import math
import pathlib

import numpy as np

from benchmarks import splits
from tfreuse.specs import ModelSpec, TrainSpec

CHECKED = (
    5  # steps whose losses are compared; PyTorch and plain Keras reuse their batches
)
SHOWN = 2  # images whose logits are compared
CLASSES = 5
_IMAGES = 64
_STEPS = 100_000  # of the schedule, more than any run reaches


@dataclasses.dataclass(frozen=True)
class Case:
    """A network at one size. `batch` is the batch size of training, `many` of inference."""

    name: str
    model: ModelSpec
    image_size: tuple[int, int] = (64, 64)
    batch: int = 16
    many: int = 64

    @property
    def train(self) -> TrainSpec:
        # Without clipping, which the loops that it is held against do not do either.
        return TrainSpec(steps=_STEPS, batch_size=self.batch, warmup=0.0, clip_norm=0.0)


def _unet(width: int, depth: int = 3) -> ModelSpec:
    return ModelSpec(architecture="unet", width=width, depth=depth)


_RESNET50 = ModelSpec(architecture="pspnet", width=64, encoder="resnet50")
_SMALL = ModelSpec(architecture="pspnet", width=16)
CPU = (
    Case("unet, width 8", _unet(8)),
    Case("unet, width 16", _unet(16)),
    Case("unet, width 32", _unet(32)),
    Case("pspnet, width 16", _SMALL),
)
GPU = (
    Case("unet, width 64, depth 4, 256x256", _unet(64, 4), (256, 256), 32),
    Case("pspnet, ResNet-50, 473x473", _RESNET50, (473, 473), 16, 16),
)
TINY = (
    Case("unet, width 4, depth 1", _unet(4, 1), (16, 16), 4, 4),
    Case("pspnet, width 4", dataclasses.replace(_SMALL, width=4), (24, 24), 4, 4),
)


def find(name: str) -> Case:
    return next(case for case in (*CPU, *GPU, *TINY) if case.name == name)


def rate(spec: TrainSpec, step: int) -> float:
    """Returns the learning rate of `training` at update `step`, from 0."""
    if step < 1:  # the warm-up: one step at 0
        return 0.0
    return spec.learning_rate * (1 + math.cos(math.pi * (step - 1) / (_STEPS - 1))) / 2


def build(case: Case):
    """Builds the Keras model, the same in every process.

    Without dropout, since losses are compared.
    """
    import keras

    from tfreuse import models

    model = models.build(case.model, task="segmentation", num_classes=CLASSES, seed=0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return model


def split(case: Case):
    """Draws a `data.Split` of images whose coarse brightness determines the class."""
    draw = np.random.default_rng(0)
    coarse = draw.random((_IMAGES, 4, 4, 1))
    height, width = case.image_size
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    level = coarse[:, rows][:, :, columns]
    images = 215 * level + 40 * draw.random((_IMAGES, height, width, 3))
    masks = (level[..., 0] * CLASSES).astype(np.int32)
    return splits.split("train", images.astype(np.uint8), masks, CLASSES)


def make(case: Case, folder: pathlib.Path) -> None:
    """Writes the batches, the initial values, and logits and losses of plain Keras."""
    from tfreuse import runtime, training

    runtime.start()
    model = build(case)
    values = {f"values/{v.path}": v.numpy() for v in model.weights}
    steps = training.batches(model, split(case), case.train).take(CHECKED)
    images, masks = map(np.stack, zip(*steps.as_numpy_iterator(), strict=True))
    shown = model(images[0][:SHOWN], training=False).numpy()
    facts = {"parameters": model.count_params(), "flops": flops(model, case.image_size)}
    model.compile(training.optimizer(model, case.train), training.loss("segmentation"))
    facts["losses"] = [
        float(model.train_on_batch(*batch)) for batch in zip(images, masks, strict=True)
    ]
    np.savez(
        folder / f"{case.name}.npz", images=images, masks=masks, shown=shown, **values
    )
    (folder / f"{case.name}.json").write_text(json.dumps(facts))


def read(case: Case, folder: pathlib.Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Reads the facts and the arrays that `make` wrote."""
    facts = json.loads((folder / f"{case.name}.json").read_text())
    with np.load(folder / f"{case.name}.npz") as arrays:
        return facts, dict(arrays)


def flops(model, image_size: tuple[int, int]) -> int:
    """Counts multiplications and additions of convolutions, for an image's forward pass.

    A training step needs about three times as many: the backward pass computes a gradient by
    the input and a gradient by the kernel of each convolution.
    """
    from tfreuse import models

    return 2 * sum(models.multiplications(model, image_size).values())
