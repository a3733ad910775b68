"""Measures how retention depends on the donor's age, in updates of its training."""

from collections.abc import Mapping

from tfreuse import specs
from tfreuse.analysis import Row
from tfreuse.analysis.arms import (
    Arms,
    cell_columns,
    clipped_retentions,
    in_study_order,
    paired,
    with_intervals,
)
from tfreuse.analysis.bounded import DIFFERENCE, RETENTION

_BOUNDS = {"age": RETENTION, "difference": DIFFERENCE}


def rows(
    ages: Mapping[int, Arms], finished: Arms, steps: int, spec: specs.StudySpec
) -> list[Row]:
    """Returns the retention of every cell with donors of each age, the finished one last.

    Retention is clipped to [0, 1]. Cells without a donor of another age are left out.

    Args:
        ages: arms of donors that were kept along their training, by its number of updates.
        finished: arms of the finished donors.
        steps: updates of a whole training. A finished donor is the best of its validations and
            can be younger.
        spec: of the study.

    Returns:
        rows of site_kind, site, depth, group, repair, quantity, updates, finished (of the
        finished donor), mean, low, high, n, method. `quantity` is "age": the retention; or
        "difference": retention of this age minus retention of the finished donor, paired by seed.
    """
    pending = []
    for updates, arms in sorted(ages.items()):
        for arm, seeds in arms.items():
            row = cell_columns(arm, seeds) | {"updates": updates, "finished": False}
            values = clipped_retentions(seeds)
            pending.append((row | {"quantity": "age"}, [*values.values()]))
            last = clipped_retentions(finished.get(arm, {}))
            row |= {"quantity": "difference"}
            pending.append((row, [*paired([values, last]).values()]))
    for arm in dict.fromkeys(arm for arms in ages.values() for arm in arms):
        if seeds := finished.get(arm):
            row = cell_columns(arm, seeds) | {"updates": steps, "finished": True}
            values = [*clipped_retentions(seeds).values()]
            pending.append((row | {"quantity": "age"}, values))
    return in_study_order(with_intervals(pending, spec.confidence, _BOUNDS), spec)
