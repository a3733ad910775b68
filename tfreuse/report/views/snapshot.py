"""A study at one moment, with the tables that were asked for kept."""

import functools
import json
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tfreuse.analysis import verdicts
from tfreuse.analysis.arms import Part
from tfreuse.analysis.tables import Row
from tfreuse.report import source
from tfreuse.report.arrays import Arrays
from tfreuse.report.drawings import Drawing, Subject


class Snapshot:
    """A study at one moment: immutable, with the tables that were asked for kept.

    Attributes:
        source: what the report would read.
        version: changes whenever a file of the study does.
        verdicts: those given, else without the intervals over images, which take too long
            for a live view.
        warnings: what is broken or missing, a sentence each.
    """

    def __init__(
        self,
        found: source.Source,
        version: str = "",
        warnings: Sequence[str] = (),
        judged: Sequence[verdicts.Verdict] | None = None,
        arrays_of: Callable[[Part], Arrays] = lambda part: {},
    ) -> None:
        """Of `found`, with `warnings` besides its own.

        `arrays_of` gives what the study kept for pictures of a part; a server, which shows
        some of them only when asked, gives none.
        """
        self.source, self.version = found, version
        self._arrays_of = arrays_of
        self.warnings = [*found.warnings, *warnings]
        if judged is None:
            judged = verdicts.judge(found.records, found.spec)
        self.verdicts = judged
        self._kept: dict[tuple, Any] = {}
        self._making: dict[tuple, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def parts(self) -> list[Part]:
        return list(self.source.parts)

    @functools.cached_property
    def subjects(self) -> dict[Part, Subject]:
        """What every table of a part is made from."""
        study = self.source
        return {
            part: Subject(
                part,
                arms,
                study.spec,
                study.skips(part),
                self._arrays_of(part),
                study.stages.get(part.architecture, {}),
            )
            for part, arms in study.parts.items()
        }

    def rows(self, part: Part, drawing: Drawing) -> list[Row]:
        """What a figure of the part is drawn from, here and in the report."""
        return self.keep(
            ("rows", part, drawing.kind), lambda: drawing.rows(self.subjects[part])
        )

    def keep(self, key: tuple, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for each key; other keys do not wait for it."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]


def to_text(value: Any) -> str:
    """`value` as JSON; what JSON cannot hold is looked for only where there is some."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(plain(value), allow_nan=False)


def plain(value: Any) -> Any:
    """`value` as JSON holds it: no infinite or missing numbers, no NumPy."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if hasattr(value, "item"):
        return plain(value.item())
    return float(value) if math.isfinite(value) else None
