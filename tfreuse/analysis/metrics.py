"""Computes metrics from summed counts, never as means of means.

Segmentation: a confusion matrix [C, C], rows the truth, columns the prediction, is summed over
images and batches. Auto-encoding: squared errors are summed likewise (`Reconstruction`), and for
a study's arms the moments (`MOMENTS`) that a gain and an offset of each channel are fitted from.

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

    squared_error: float  # sum over all numbers of (clipped output - image)²
    total_variation: float  # sum of (image - mean image)²: the error of the mean image
    similarity: float  # sum over images of SSIM
    numbers: int  # images x height x width x channels
    images: int
    raw_squared_error: float | None = None  # of outputs as they are, not clipped

    def r2(self) -> float:
        """Returns 1 - squared error / that of the mean image: 1 is perfect, 0 the mean image."""
        return r2(self.squared_error, self.total_variation)

    def psnr(self) -> float:
        """Returns the peak signal-to-noise ratio over all images in dB, for a peak of 1."""
        return self._psnr(self.squared_error)

    def raw(self) -> dict[str, float]:
        """Returns R2 and PSNR of the outputs as they are; {} if their error was not summed."""
        if self.raw_squared_error is None:
            return {}
        error = self.raw_squared_error
        return {
            "raw_r2": r2(error, self.total_variation),
            "raw_psnr": self._psnr(error),
        }

    def _psnr(self, squared_error: float) -> float:
        return float(-10.0 * np.log10(max(squared_error / self.numbers, 1e-12)))

    def ssim(self) -> float:
        """Returns the mean structural similarity (Wang et al. 2004)."""
        return self.similarity / self.images


def r2(squared_error: float, total_variation: float) -> float:
    """Computes 1 - squared error / that of the mean image."""
    return 1.0 - squared_error / max(total_variation, 1e-12)


# Sums over the pixels of an image, a channel each, of output y and target t.
MOMENTS = ("y", "t", "yy", "yt", "tt")


def gains_and_offsets(
    moments: np.ndarray, pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fits gain * output + offset to the target of each channel by least squares.

    Args:
        moments: `MOMENTS` of each image, [N, 5, C].
        pixels: of an image.

    Returns:
        gains [C], 0 for an output without variance, and offsets [C].
    """
    count = len(moments) * pixels
    y, t, yy, yt, _ = moments.sum(axis=0)
    variance = yy - y * y / count
    varies = np.isfinite(variance) & (variance > 1e-12 * yy)
    gains = np.divide(
        yt - y * t / count, variance, out=np.zeros_like(variance), where=varies
    )
    return gains, (t - gains * np.where(varies, y, 0)) / count


def fitted_errors(
    moments: np.ndarray, gains: np.ndarray, offsets: np.ndarray, pixels: int
) -> np.ndarray:
    """Computes the squared error of gain * output + offset of each image, [N]."""
    y, t, yy, yt, tt = np.moveaxis(moments, 1, 0)
    with np.errstate(invalid="ignore"):
        of_output = gains * (gains * yy + 2 * offsets * y - 2 * yt)
    of_output = np.where(gains == 0, 0, of_output)
    errors = of_output + offsets * (offsets * pixels - 2 * t) + tt
    return np.maximum(0, errors.sum(axis=1))  # rounding can leave less than 0


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
        **sums.raw(),
        "sums": dataclasses.asdict(sums),
    }
