"""The report of --check_data: contents of a data set, before hours are spent on it."""

import collections
import itertools

import numpy as np

from tfreuse.data import labels
from tfreuse.data.source import Source, SplitArrays, UnusableFiles


def report(source: Source, splits: tuple[str, ...], ignore_label: int) -> str:
    """Formats pairs, sizes, modes and shares of labels of each split as text.

    Raises:
        InputError: an image or mask can't be used.
    """
    arrays_of = _read_all(source, splits)
    num_classes = source.num_classes()
    for arrays in arrays_of.values():
        labels.check(arrays.counts, num_classes, ignore_label)
    lines = [_summary(split, arrays) for split, arrays in arrays_of.items()]
    lines += ["", *_label_shares(source, arrays_of, num_classes, ignore_label)]
    notes = [f"Note: {note}." for note in dict.fromkeys(source.notes)]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _read_all(source: Source, splits: tuple[str, ...]) -> dict[str, SplitArrays]:
    """Reads the splits. Raises UnusableFiles with the files of all splits."""
    arrays_of, problems = {}, {}
    for split in splits:
        try:
            arrays_of[split] = source.read(split)
        except UnusableFiles as error:
            problems |= error.problems
    if problems:
        raise UnusableFiles(problems)
    return arrays_of


def _summary(split: str, arrays: SplitArrays) -> str:
    sizes = np.array(arrays.sizes)
    (low, narrow), (high, wide) = sizes.min(axis=0), sizes.max(axis=0)
    size = f"{narrow} x {low}"
    if (low, narrow) != (high, wide):
        size += f" to {wide} x {high}"
    modes = collections.Counter(arrays.modes).most_common()
    return (
        f"{split}: {len(arrays.ids)} pairs, {size} pixels (width x height), modes "
        + ", ".join(f"{mode} ({count})" for mode, count in modes)
    )


def _label_shares(
    source: Source,
    arrays_of: dict[str, SplitArrays],
    num_classes: int,
    ignore_label: int,
) -> list[str]:
    """Formats a table of each label's share of the pixels of each split."""
    totals = {split: labels.total(arrays.counts) for split, arrays in arrays_of.items()}
    rows = ["label  " + "".join(f"{split:>9}" for split in totals) + "  class"]
    listed = list(range(num_classes))
    if ignore_label >= num_classes:
        listed.append(ignore_label)
    present = {
        label for counts in totals.values() for label in counts.nonzero()[0].tolist()
    }
    for occur, run in itertools.groupby(listed, present.__contains__):
        run = list(run)
        if not occur and len(run) > 3:
            rows.append(f"{run[0]:5d} to {run[-1]}: no pixels")
            continue
        for label in run:
            row = f"{label:5d}  "
            for pixels in totals.values():
                share = pixels[label] / pixels.sum() if label < len(pixels) else 0.0
                row += f"{_percent(share):>9}"
            names = source.class_names
            name = names[label] if label < len(names) else ""
            rows.append(
                f"{row}  {'ignored' if label == ignore_label else name}".rstrip()
            )
    return rows


def _percent(share: float) -> str:
    """Formats a share so that none differs from few."""
    if not share:
        return "-"
    return f"{share:.2%}" if share >= 5e-5 else "<0.01%"
