"""Computes metrics from summed counts, never as means of means.

Segmentation: a confusion matrix [C, C], rows the truth, columns the prediction, is summed over
images and batches. Auto-encoding: squared errors are summed likewise (`Reconstruction`).

    confusion = per_image.sum(axis=0)
    mean_iou(confusion), floor_mean_iou(confusion)
"""

import dataclasses
from typing import Any

import numpy as np


def per_class_iou(confusion: np.ndarray) -> np.ndarray:
    """Computes the intersection over union of each class, [C].

    NaN for a class that is neither in the truth nor in the prediction.
    """
    hit = np.diag(confusion).astype(float)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    with np.errstate(invalid="ignore"):
        return hit / np.where(union > 0, union, np.nan)


def mean_iou(confusion: np.ndarray) -> float:
    """Computes the mean of `per_class_iou` over the classes that are present."""
    ious = per_class_iou(confusion)
    ious = ious[~np.isnan(ious)]
    return float(ious.mean()) if ious.size else 0.0


def mean_ious(confusions: np.ndarray) -> np.ndarray:
    """Computes `mean_iou` of many confusion matrices, [..., C, C] to [...]."""
    hit = np.einsum("...ii->...i", confusions).astype(float)
    union = confusions.sum(axis=-1) + confusions.sum(axis=-2) - hit
    ious = np.divide(hit, union, out=np.zeros_like(hit), where=union > 0)
    return ious.sum(axis=-1) / np.maximum(1, (union > 0).sum(axis=-1))


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Computes the share of the counted pixels that have the right class."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else 0.0


def floor_mean_iou(confusion: np.ndarray) -> float:
    """Computes the mean IoU of predicting the most frequent class everywhere.

    Its IoU is its share of the pixels, that of the other classes of the truth is 0.
    """
    truth = confusion.sum(axis=1)
    present = np.count_nonzero(truth)
    return float(truth.max() / truth.sum() / present) if present else 0.0


def floor_mean_ious(confusions: np.ndarray) -> np.ndarray:
    """Computes `floor_mean_iou` of many confusion matrices, [..., C, C] to [...]."""
    truth = confusions.sum(axis=-1)
    classes = np.maximum(1, (truth > 0).sum(axis=-1))
    return truth.max(axis=-1) / np.maximum(1, truth.sum(axis=-1)) / classes


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """Sums over images in [0, 1], from which the metrics of an auto-encoder are computed."""

    squared_error: float  # sum over all numbers of (output - image)²
    total_variation: float  # sum of (image - mean image)²: the error of the mean image
    similarity: float  # sum over images of SSIM
    numbers: int  # images x height x width x channels
    images: int

    def r2(self) -> float:
        """Returns 1 - squared error / that of the mean image: 1 is perfect, 0 the mean image."""
        return 1.0 - self.squared_error / max(self.total_variation, 1e-12)

    def psnr(self) -> float:
        """Returns the peak signal-to-noise ratio over all images in dB, for a peak of 1."""
        return float(-10.0 * np.log10(max(self.squared_error / self.numbers, 1e-12)))

    def ssim(self) -> float:
        """Returns the mean structural similarity (Wang et al. 2004)."""
        return self.similarity / self.images


def segmentation_summary(
    confusion: np.ndarray, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """Returns the content of `metrics.json` for segmentation: every metric with its counts."""
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
    """Returns the content of `metrics.json` for an auto-encoder."""
    return {
        "metric": "r2",
        "r2": sums.r2(),
        "floor": 0.0,
        "psnr": sums.psnr(),
        "ssim": sums.ssim(),
        "sums": dataclasses.asdict(sums),
    }
