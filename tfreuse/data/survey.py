"""The report of --check_data: what a data set holds, before hours are spent on it."""

import collections

import numpy as np

from tfreuse.data import labels
from tfreuse.data.source import Found, Source


def report(source: Source, splits: tuple[str, ...], ignore_label: int) -> str:
    """Pairs, sizes, modes and shares of labels of each split, as text.

    Raises:
        InputError: something in the data can't be used.
    """
    found = {split: source.read(split) for split in splits}
    num_classes = source.num_classes()
    for one in found.values():
        labels.check(one.counts, num_classes, ignore_label)
    lines = [line for split in splits for line in _pairs(split, found[split])]
    return "\n".join(
        lines + [""] + _histogram(source, found, num_classes, ignore_label)
    )


def _pairs(split: str, found: Found) -> list[str]:
    """Two lines on the images of one split."""
    sizes = np.array(found.sizes)
    (low, wide), (high, broad) = sizes.min(axis=0), sizes.max(axis=0)
    size = f"{wide} x {low}"
    if (low, wide) != (high, broad):
        size += f" to {broad} x {high}"
    modes = collections.Counter(found.modes).most_common()
    return [
        f"{split}: {len(found.ids)} pairs, {size} pixels (width x height), modes "
        + ", ".join(f"{mode} ({count})" for mode, count in modes)
    ]


def _histogram(
    source: Source, found: dict[str, Found], num_classes: int, ignore_label: int
) -> list[str]:
    """A table of each label's share of the pixels of each split."""
    totals = {split: labels.total(one.counts) for split, one in found.items()}
    rows = ["label  " + "".join(f"{split:>9}" for split in totals) + "  class"]
    shown = list(range(num_classes))
    if ignore_label >= num_classes:
        shown.append(ignore_label)
    for label in shown:
        row = f"{label:5d}  "
        for pixels in totals.values():
            share = pixels[label] / pixels.sum() if label < len(pixels) else 0.0
            row += f"{share:9.2%}"
        names = source.class_names
        name = names[label] if label < len(names) else ""
        rows.append(f"{row}  {'ignored' if label == ignore_label else name}".rstrip())
    return rows
