"""Measures what unlabelled images win back: mean IoU against their number, when images are corrupted.

    rows = run(Settings(), folder)
    save_figure(rows, folder / "recovery")      # .png and .svg

A UNet is trained on drawn scenes. Its test images are then corrupted, and its statistics
re-estimated on N unlabelled training images of the same corruption. The share that is recovered is
(after - before) / (clean - before). Controls on clean images: `shuffled`, statistics exchanged between
channels, of which all should come back (positive); `right`, the statistics of training, where nothing
is to be won and a change is the cost of a small sample (negative; in mean IoU). Intervals are
over draws of the N images; there is one network.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import keras
import numpy as np
import scipy.ndimage

from benchmarks import table
from tfreuse import data, files, progress, training
from tfreuse.analysis import intervals, metrics
from tfreuse.models import saving
from tfreuse.report.figures import canvas
from tfreuse.specs import DataSpec, ModelSpec, TrainSpec
from tfreuse.training import norms, recalibration
from tfreuse.training.layerwise import Batches, Layerwise

SHUFFLED, RIGHT = "shuffled", "right"
SHARE, CHANGE = "share recovered", "change of mean IoU"  # where nothing was lost
_NOISE, _BLUR, _CONTRAST = (
    0.15,
    1.5,
    0.3,
)  # standard deviation; pixels; share that is left
_BATCH, _CLASSES = 64, 5
_LEAST = 0.02  # less mean IoU is no loss to recover


def _blurred(images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(images, (0, _BLUR, _BLUR, 0))


# Name -> function of float32 images [N, H, W, 3] in [0, 1] and a generator.
CORRUPTIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "noise": lambda images, draw: images + draw.normal(0, _NOISE, images.shape),
    "blur": _blurred,
    "contrast": lambda images, draw: 0.5 + _CONTRAST * (images - 0.5),
    "grey": lambda images, draw: np.repeat(images.mean(-1, keepdims=True), 3, axis=-1),
}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#999933", "#1d2733")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Extent of the experiment."""

    counts: tuple[int, ...] = (1, 4, 16, 64, 512)
    seeds: int = 5
    steps: int = 600
    width: int = 8
    depth: int = 3
    side: int = 32
    test_images: int = 96


def run(settings: Settings, folder: pathlib.Path) -> list[dict]:
    """Trains the network in `folder` unless it is there; returns a row a case and number."""
    spec = DataSpec(
        image_size=(settings.side, settings.side),
        train_examples=2 * max(settings.counts),
        test_examples=settings.test_images,
    )
    path = folder / "network" / "model.keras"
    if not path.exists():
        training.train(
            ModelSpec(width=settings.width, depth=settings.depth),
            spec,
            TrainSpec(  # as in flags/quickstart.flags
                steps=settings.steps,
                batch_size=8,
                learning_rate=0.01,
                clip_norm=0.1,
                class_weights="balanced",
                validations=1,
            ),
            path.parent,
        )
    model = saving.load(path)
    train, test = (_arrays(data.load(spec, split)) for split in ("train", "test"))
    experiment = _Experiment(model, train[0], *test, settings)
    return [row for case in (*CORRUPTIONS, SHUFFLED, RIGHT) for row in experiment(case)]


def _arrays(split: data.Split) -> tuple[np.ndarray, np.ndarray]:
    tensors = split.tensors
    return tensors["image"].numpy() / np.float32(255), tensors["mask"].numpy()


class _Experiment:
    """A trained network, images to re-estimate its statistics on, and images to test it on."""

    def __init__(self, model, unlabelled, images, masks, settings) -> None:
        self._model, self._settings = model, settings
        self._unlabelled, self._images, self._masks = unlabelled, images, masks
        self._layers = norms.normalizations(model)
        self._layerwise = Layerwise(model, self._layers, images[:1])
        self._right = [recalibration.values(layer) for layer in self._layers]
        self._clean = self._mean_iou(images)
        self._display = progress.Display(1.0)

    def __call__(self, case: str) -> list[dict]:
        """Returns a row for each number of images."""
        settings, draw = self._settings, np.random.default_rng(99)
        corrupt = CORRUPTIONS.get(case, lambda images, draw: images)
        test = corrupt(self._images, draw).astype(np.float32)
        start = self._shuffled() if case == SHUFFLED else self._right
        self._set(start)
        before = self._mean_iou(test)
        rows = []
        for number, count in enumerate(settings.counts):
            after = []
            for seed in range(settings.seeds):
                draw = np.random.default_rng([seed, count])
                chosen = draw.choice(len(self._unlabelled), count, replace=False)
                images = corrupt(self._unlabelled[chosen], draw).astype(np.float32)
                self._set(start)
                recalibration.settle(self._layerwise, Batches(images, _BATCH))
                after.append(self._mean_iou(test))
            self._display.update((number + 1) / len(settings.counts), case, force=True)
            change = np.array(after) - before
            lost = self._clean - before
            unit = CHANGE if lost < _LEAST else SHARE
            scale = lost if unit == SHARE else 1.0
            rows.append(
                {
                    "case": case,
                    "unit": unit,
                    "images": count,
                    "clean": self._clean,
                    "before": before,
                    "after": float(np.mean(after)),
                    "recovered": intervals.mean_interval(change / scale).to_json(),
                }
            )
        self._set(self._right)
        return rows

    def _shuffled(self) -> list[list[np.ndarray]]:
        draw = np.random.default_rng(0)
        orders = [draw.permutation(len(mean)) for mean, _ in self._right]
        return [
            [values[order] for values in pair]
            for pair, order in zip(self._right, orders, strict=True)
        ]

    def _set(self, statistics: Sequence[Sequence[np.ndarray]]) -> None:
        for layer, (mean, variance) in zip(self._layers, statistics, strict=True):
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)

    def _mean_iou(self, images: np.ndarray) -> float:
        outputs = self._model.predict(images, batch_size=_BATCH, verbose=0)
        outputs = outputs["head"] if isinstance(outputs, dict) else outputs
        labels = keras.ops.convert_to_numpy(outputs).argmax(-1)
        pairs = self._masks.astype(int).ravel() * _CLASSES + labels.ravel()
        counts = np.bincount(pairs, minlength=_CLASSES**2)
        return metrics.mean_iou(counts.reshape(_CLASSES, _CLASSES))


def markdown(rows: Sequence[dict]) -> str:
    """Formats the rows as a Markdown table: a line a case, a column a number of images."""
    counts = list(dict.fromkeys(row["images"] for row in rows))
    head = ("case", "mean IoU before", *(f"N = {count}" for count in counts))
    lines = [table.line(head), table.rule(len(head))]
    for case in dict.fromkeys(row["case"] for row in rows):
        of_case = [row for row in rows if row["case"] == case]
        cells = [_cell(row["recovered"]) for row in of_case]
        unit = of_case[0]["unit"]
        name = case if unit == SHARE else f"{case}: {unit}"
        lines.append(table.line((name, f"{of_case[0]['before']:.3f}", *cells)))
    n = rows[0]["recovered"]["n"]
    return "\n".join(lines) + (
        f"\n\nShare of the lost mean IoU (clean: {rows[0]['clean']:.3f}) that N unlabelled images "
        f"recover, mean and 95 % interval over {n} draws of the images; where less than {_LEAST} "
        "was lost, the change of mean IoU.\n"
    )


def _cell(interval: dict) -> str:
    ends = [interval[name] for name in ("low", "high")]
    if None in ends:
        return f"{interval['estimate']:.2f}"
    return f"{interval['estimate']:.2f} [{ends[0]:.2f}, {ends[1]:.2f}]"


def save_figure(rows: Sequence[dict], path: pathlib.Path) -> None:
    """Draws the recovered shares, and the cost of a small sample, to PATH.png and PATH.svg."""
    import matplotlib

    colours = dict(zip((*CORRUPTIONS, SHUFFLED, RIGHT), _COLOURS, strict=True))
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(7.0, 2.9)
        for unit, left, width in ((SHARE, 0.6, 3.5), (CHANGE, 4.9, 1.95)):
            axes = canvas.panel(figure, left, 0.35, width, 1.75)
            for case, colour in colours.items():
                of_case = [r for r in rows if (r["case"], r["unit"]) == (case, unit)]
                if of_case:
                    _curve(axes, of_case, colour)
            axes.axhline(0, color=canvas.FAINT, lw=0.8)
            axes.set_xscale("log", base=2)
            counts = sorted({row["images"] for row in rows})
            axes.set_xticks(counts, map(str, counts))
            axes.minorticks_off()
            axes.set_xlabel("unlabelled images")
            canvas.title(axes, unit)
            canvas.plain(axes)
        handles = [
            canvas.line(n, c, marker="o", markersize=3) for n, c in colours.items()
        ]
        canvas.legend(figure, handles)
    for ending, content in ((".png", canvas.picture), (".svg", canvas.vector)):
        with files.replacing(path.with_suffix(ending)) as temporary:
            temporary.write_bytes(content(figure))


def _curve(axes, rows: Sequence[dict], colour: str) -> None:
    counts = [row["images"] for row in rows]
    estimates, lows, highs = (
        [row["recovered"][name] for row in rows] for name in ("estimate", "low", "high")
    )
    axes.plot(counts, estimates, color=colour, marker="o", markersize=3, lw=1)
    if None not in (*lows, *highs):
        axes.fill_between(counts, lows, highs, color=colour, alpha=0.15, lw=0)
