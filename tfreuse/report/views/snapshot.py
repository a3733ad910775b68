"""A study at one moment, with the tables that were asked for kept."""

import functools
import math
import threading
from collections.abc import Callable
from typing import Any

from tfreuse import verdicts
from tfreuse.report import source
from tfreuse.report.drawings import Subject
from tfreuse.verdicts.arms import Part


class Snapshot:
    """A study at one moment: immutable, with the tables that were asked for kept.

    Attributes:
        version: changes whenever a file of the study does.
        source: what the report would read.
        held: what study.json holds.
        verdicts: without the intervals over images, which take too long for a live view.
        warnings: what is broken or missing, a sentence each.
    """

    def __init__(
        self, version: str, found: source.Source, held: dict, warnings: list[str]
    ) -> None:
        self.version, self.source, self.held = version, found, held
        self.warnings = [*found.warnings, *warnings]
        self.verdicts = verdicts.judge(found.records, found.spec)
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
            part: Subject(part, arms, study.spec, study.skips(part))
            for part, arms in study.parts.items()
        }

    def keep(self, key: tuple, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for each key; other keys do not wait for it."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]


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
