"""Pixels of each class in the images of a split, and weights of classes that follow from them."""

from __future__ import annotations  # `Split` is imported for type checkers alone

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tfreuse.data import Split


def histogram(split: Split) -> np.ndarray:
    """Counts the pixels of each class in each image, [N, C], without ignored pixels."""
    masks = split.tensors["mask"].numpy().astype(np.int64)
    # Ignored pixels go into an extra class, which is dropped.
    masks = np.where(masks == split.ignore_label, split.num_classes, masks)
    return np.stack(
        [np.bincount(mask.ravel(), minlength=split.num_classes + 1) for mask in masks]
    )[:, : split.num_classes]


def balancing_weights(split: Split) -> np.ndarray:
    """Returns class weights [C] by median frequency (Eigen and Fergus 2015, arXiv:1411.4734).

    The frequency f of a class is its share of the pixels of the images that contain it; its
    weight is median(f) / f. Weights are then scaled to a mean of 1 over all pixels, so that
    the loss keeps its scale. An absent class has weight 0.
    """
    pixels = histogram(split).astype(float)  # [N, C]
    total = pixels.sum(axis=0)
    in_images = np.where(pixels > 0, pixels.sum(axis=1, keepdims=True), 0).sum(axis=0)
    frequency = total / np.maximum(1, in_images)
    present = frequency > 0
    median = np.median(frequency[present])
    weights = np.where(present, median / np.maximum(frequency, 1e-12), 0)
    return weights * total.sum() / (weights * total).sum()
