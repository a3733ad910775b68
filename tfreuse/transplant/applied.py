"""Results of a transplant: the report of a written file, or the displaced values of a model."""

import dataclasses
import weakref
from typing import Any

from tfreuse.checkpoints import WriteReport
from tfreuse.plan import Plan


@dataclasses.dataclass(frozen=True)
class Applied:
    """Report of a transplant into a file.

    Attributes:
        plan: the plan that was carried out.
        written: paths, sizes and checksums of the output; None after a dry run.
        notes: state in the output that the transplant left alone and that a reader should
            know of, such as the state of an optimizer.
    """

    plan: Plan
    written: WriteReport | None
    notes: tuple[str, ...]


class Displaced(dict[str, Any]):
    """Values that a transplant into a live model displaced, by variable path, for `undo`.

    The values are tensors that share memory with the recipient until either changes;
    numpy.asarray copies one into an array.

    Attributes:
        report: one line for each other change, such as optimizer state that was reset.
        model: reference to the recipient, which alone `undo` accepts; None in a copy.
    """

    report: tuple[str, ...] = ()
    model: weakref.ref | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state to pickle or copy: a reference to a live model has no meaning there."""
        return {"report": self.report}
