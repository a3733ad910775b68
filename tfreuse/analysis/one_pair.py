"""Intervals over test images for a study of one pair of networks, which has one seed.

    pair = OnePair(arms, counts, spec)
    pair.interval(Arm("transfer", "all", "all", "kernel"))  # n is the number of images
    pair.over_images(rows)                                  # rows of a table, with these intervals

They say how much a retention of these two networks depends on which images were tested, and
nothing about networks of other seeds. With fewer than `over_images.FEWEST_IMAGES` images there are
none, and rows keep the interval of one seed, which leaves nearly everything open.
"""

import dataclasses
from collections.abc import Sequence

from tfreuse import specs
from tfreuse.analysis import Row, intervals, over_images, tables
from tfreuse.analysis.arms import Arm, Arms, draws_of


class OnePair:
    """The arms of one pair of networks, with the counts of each test image.

    Args:
        arms: of one part of a study of one seed.
        counts: reads the counts of a record by image.
        spec: the study's settings.
    """

    def __init__(
        self, arms: Arms, counts: over_images.ReadCounts, spec: specs.StudySpec
    ) -> None:
        self._arms, self._counts, self._spec = arms, counts, spec
        self._resamples: dict[Arm, over_images.Resamples | None] = {}

    def interval(self, arm: Arm) -> intervals.Interval | None:
        """Returns the interval of an arm's clipped retention; None without counts or images.

        Draws of a random control are averaged; `arm.draw` is ignored.
        """
        resamples = self._resampled(arm)
        return resamples.interval(self._spec.confidence) if resamples else None

    def cost(self, kind: str, site: str, group: str) -> intervals.Interval | None:
        """Returns the interval of the metric lost to re-initialising; None if not measured."""
        fresh = Arm("reinitialised", kind, site, group)
        retained = self.interval(fresh)
        if retained is None:
            return None
        (record,) = self._arms[fresh].values()
        span = record.before - record.floor
        return dataclasses.replace(
            retained,
            estimate=(1 - retained.estimate) * span,
            low=(1 - retained.high) * span,
            high=(1 - retained.low) * span,
        )

    def over_images(self, rows: Sequence[Row]) -> list[Row]:
        """Replaces the intervals of rows: of any arm, by default of the donor at all layers."""
        replaced = []
        for row in rows:
            interval = self.interval(_arm_of(row))
            replaced.append(row | interval.to_row() if interval else row)
        return replaced

    def heat(self, rows: Sequence[Row]) -> list[Row]:
        """Replaces the intervals, costs and tests of the rows of heat maps.

        Args:
            rows: of `significance.mark`. Their tests are then bootstrap tests over images, with
                Benjamini-Hochberg's q over each heat map; there is no band over cells.
        """
        replaced = self.over_images(rows)
        for name in {(row["site_kind"], row["repair"]) for row in rows}:
            cells = [
                row
                for row in replaced
                if (row["site_kind"], row["repair"]) == name
                and self._resampled(_arm_of(row))
            ]
            p_values = [
                self._resampled(_arm_of(row)).p_value(1 - self._spec.margin)
                for row in cells
            ]
            q_values = intervals.benjamini_hochberg(p_values)
            for row, q in zip(cells, q_values, strict=True):
                row |= {"q": q, "significant": q < 1 - self._spec.confidence}
                row |= {"band_low": None, "band_high": None}
                row |= self._criticality(row)
        return replaced

    def _criticality(self, row: Row) -> Row:
        """Returns the columns on the cost of fresh values at a cell, or at its layer's stage."""
        owners = (row["site_kind"], row["site"]), ("stage", row["stage"])
        for kind, site in owners:
            if cost := self.cost(kind, site, row["group"]):
                return {
                    "critical": cost.low,
                    "identifiable": cost.low > tables.CRITICAL,
                }
        return {}

    def _resampled(self, arm: Arm) -> "over_images.Resamples | None":
        arm = arm._replace(draw=0)
        if arm not in self._resamples:
            draws = draws_of(self._arms, arm)
            sides = draws and over_images.counts_of_sides(
                self._arms, draws, self._counts
            )
            drawn = [counts for side in sides or () for counts in side]
            self._resamples[arm] = over_images.resamples([drawn]) if drawn else None
        return self._resamples[arm]


def _arm_of(row: Row) -> Arm:
    return Arm(
        row.get("control", "transfer"),
        row.get("site_kind", "all"),
        row.get("site", "all"),
        row["group"],
        row["repair"],
        row.get("strength", 1.0),
    )
