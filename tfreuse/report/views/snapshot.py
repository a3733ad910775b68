"""A study at one moment, with a cache of its tables."""

import functools
import json
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tfreuse.analysis import verdicts
from tfreuse.analysis.arms import Part
from tfreuse.analysis.one_pair import OnePair
from tfreuse.analysis.tables import Row
from tfreuse.report import source
from tfreuse.report.arrays import Arrays
from tfreuse.report.drawings import Drawing, Subject


class Snapshot:
    """A study at one moment: immutable, with a cache of the tables that views compute.

    Attributes:
        source: the study's files as the report reads them.
        version: changes whenever a file of the study does.
        verdicts: the given ones; else without intervals over images, which take too long for
            a live view.
        warnings: a sentence for each broken or missing file.
    """

    def __init__(
        self,
        study: source.Source,
        version: str = "",
        warnings: Sequence[str] = (),
        judged: Sequence[verdicts.Verdict] | None = None,
        arrays_of: Callable[[Part], Arrays] = lambda part: {},
    ) -> None:
        """Takes a study, and computes its verdicts unless they are given.

        Args:
            study: as it was read.
            version: of its files.
            warnings: beyond those of `study`.
            judged: verdicts that are already known.
            arrays_of: returns a part's arrays for pictures. A server returns none, because it
                reads them when somebody looks.
        """
        self.source, self.version = study, version
        self._arrays_of = arrays_of
        self.warnings = [*study.warnings, *warnings]
        if judged is None:
            # of one pair of networks they have no other interval
            one_pair = study.spec.seeds == 1
            judged = (
                study.verdicts()
                if one_pair
                else verdicts.judge(study.records, study.spec)
            )
        self.verdicts = judged
        self._cache: dict[tuple, Any] = {}
        self._locks: dict[tuple, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def parts(self) -> list[Part]:
        return list(self.source.parts)

    @functools.cached_property
    def subjects(self) -> dict[Part, Subject]:
        """The data of each part that tables and figures are computed from."""
        study = self.source
        counts = study.counts() if study.spec.seeds == 1 else None
        return {
            part: Subject(
                part,
                arms,
                study.spec,
                study.skips(part),
                self._arrays_of(part),
                study.stages.get(part.architecture, {}),
                OnePair(arms, counts, study.spec) if counts else None,
                study.ages(part),
                study.steps,
                study.channel_curves.get(part, {}),
            )
            for part, arms in study.parts.items()
        }

    def rows(self, part: Part, drawing: Drawing) -> list[Row]:
        """Returns the rows of a figure, the same here and in the report."""
        return self.keep(
            ("rows", part, drawing.kind), lambda: drawing.rows(self.subjects[part])
        )

    def keep(self, key: tuple, make: Callable[[], Any]) -> Any:
        """Returns the value of `make()`, computed once for each key.

        Threads that ask for another key don't wait for it.
        """
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._cache:
                self._cache[key] = make()
            return self._cache[key]


def to_text(value: Any) -> str:
    """Returns `value` as JSON."""
    try:  # `plain` copies everything, so it is called only for values that JSON can't hold
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(plain(value), allow_nan=False)


def plain(value: Any) -> Any:
    """Returns `value` without infinite or missing numbers and without NumPy types."""
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if hasattr(value, "item"):
        return plain(value.item())
    return float(value) if math.isfinite(value) else None
