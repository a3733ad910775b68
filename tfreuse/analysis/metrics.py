"""Metrics that are summed from counts, never means of means.

Segmentation: a confusion matrix [C, C], rows the truth, columns the prediction, adds up over
images and batches. Auto-encoding: sums of squared errors add up likewise (`Reconstruction`).

    confusion = per_image.sum(axis=0)
    mean_iou(confusion), floor_mean_iou(confusion)
"""

import dataclasses
from typing import Any

import numpy as np


def per_class_iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, [C]; not a number for a class that is absent.

    A class is absent if it is neither in the truth nor in the prediction.
    """
    hit = np.diag(confusion).astype(float)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    with np.errstate(invalid="ignore"):
        return hit / np.where(union > 0, union, np.nan)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean of `per_class_iou` over the classes that are present."""
    present = per_class_iou(confusion)
    present = present[~np.isnan(present)]
    return float(present.mean()) if present.size else 0.0


def mean_ious(confusions: np.ndarray) -> np.ndarray:
    """`mean_iou` of each of many confusion matrices, [..., C, C] to [...]."""
    hit = np.einsum("...ii->...i", confusions).astype(float)
    union = confusions.sum(axis=-1) + confusions.sum(axis=-2) - hit
    ious = np.divide(hit, union, out=np.zeros_like(hit), where=union > 0)
    return ious.sum(axis=-1) / np.maximum(1, (union > 0).sum(axis=-1))


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Share of the counted pixels that have the right class."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else 0.0


def floor_mean_iou(confusion: np.ndarray) -> float:
    """Mean IoU of who always answers the most frequent class: its share over the classes."""
    truth = confusion.sum(axis=1)
    present = np.count_nonzero(truth)
    return float(truth.max() / truth.sum() / present) if present else 0.0


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """Sums over images in [0, 1] that an auto-encoder's metrics are computed from."""

    squared_error: float  # sum over all numbers of (output - image)²
    total_variation: float  # sum of (image - mean image)²: the error of the mean image
    similarity: float  # sum over images of SSIM
    numbers: int  # images x height x width x channels
    images: int

    def r2(self) -> float:
        """1 - squared error / that of the mean image: 1 is perfect, 0 is the mean image."""
        return 1.0 - self.squared_error / max(self.total_variation, 1e-12)

    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB for a peak of 1, of the error over all images."""
        return float(-10.0 * np.log10(max(self.squared_error / self.numbers, 1e-12)))

    def ssim(self) -> float:
        """Mean structural similarity (Wang et al. 2004)."""
        return self.similarity / self.images


def segmentation_summary(
    confusion: np.ndarray, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """What `metrics.json` holds of a segmentation: every figure with its counts."""
    return {
        "metric": "mean_iou",
        "mean_iou": mean_iou(confusion),
        "floor": floor_mean_iou(confusion),
        "pixel_accuracy": pixel_accuracy(confusion),
        "per_class_iou": {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(class_names, per_class_iou(confusion), strict=True)
        },
        "confusion_matrix": confusion.astype(int).tolist(),
        "pixels": int(confusion.sum()),
    }


def reconstruction_summary(sums: Reconstruction) -> dict[str, Any]:
    """What `metrics.json` holds of an auto-encoder."""
    return {
        "metric": "r2",
        "r2": sums.r2(),
        "floor": 0.0,
        "psnr": sums.psnr(),
        "ssim": sums.ssim(),
        "sums": dataclasses.asdict(sums),
    }
