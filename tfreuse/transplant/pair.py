"""An open donor and an open recipient: plans, transplants and comparisons between them."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from tfreuse import checkpoints
from tfreuse.checkpoints import Checkpoint
from tfreuse.checkpoints.writable import RECIPIENT
from tfreuse.errors import InputError
from tfreuse.plan import Plan, remedies
from tfreuse.transplant import comparison, files, pairing
from tfreuse.transplant.applied import Applied, Displaced
from tfreuse.transplant.moves import Moves
from tfreuse.transplant.opening import Model, OpenModel, open_model


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two open models: their structure is read once for planning and moving."""

    donor: OpenModel
    recipient: OpenModel

    def plan(self, **options: Any) -> Plan:
        """Plans a transplant; see `tfreuse.transplant.plan`."""
        if isinstance(self.recipient, Checkpoint) and self.recipient.pytorch:
            checkpoints.check_recipient(self.recipient)
        plan = pairing.make(self.donor, self.recipient, **options)
        return plan.compared(Moves(plan, self.donor, self.recipient).equal)

    def filled(self, plan: Plan, *adapters: str) -> Plan:
        """Plans again with further adapters, and with those that fill in parameters that the donor lacks.

        Such as the bias of a convolution that the donor has without bias: 0. Returns the plan
        itself where nothing is to be added.
        """
        adapters = (*remedies.fills(plan), *adapters)
        if not adapters:
            return plan
        options = pairing.options_of(plan)
        return self.plan(**options | {"adapters": [*options["adapters"], *adapters]})

    def diff(self, **options: Any) -> tuple[Plan, list[comparison.Row]]:
        """Compares the two models; see `tfreuse.transplant.diff`."""
        if options.get("channels") is not None:
            raise InputError(
                "diff compares whole arrays; leave --channels out and select with --layers."
            )
        plan = pairing.make(self.donor, self.recipient, **options)
        return plan, comparison.rows(plan, self.donor.read, self.recipient.read)

    def check_out(self, out: str | os.PathLike, overwrite: bool) -> None:
        """Raises InputError if the output would replace a file, before a plan is made."""
        files.check_out(pathlib.Path(out), (self.donor, self.recipient), overwrite)

    def apply(
        self,
        plan: Plan,
        out: str | os.PathLike | None = None,
        *,
        optimizer: str = "zero",
        overwrite: bool = False,
        crc: bool = True,
        undo: str = RECIPIENT,
        dry_run: bool = False,
    ) -> Applied | Displaced:
        """Carries out a plan, all or nothing; see `tfreuse.transplant.apply`."""
        check_plan(plan)
        if isinstance(self.recipient, Checkpoint):
            if out is None:
                raise InputError(
                    f"the recipient {self.recipient.name} is a file, which is never changed; "
                    "give out=, the file to write."
                )
            if optimizer != "zero":
                raise InputError(
                    f"optimizer={optimizer!r} is for a live recipient; optimizer state in a "
                    "file stays as it is."
                )
            return files.write(
                plan,
                self.donor,
                self.recipient,
                pathlib.Path(out),
                overwrite=overwrite,
                crc=crc,
                undo=undo,
                dry_run=dry_run,
            )
        if out is not None:
            raise InputError(
                f"the recipient is a live model, which is changed in place; leave out={out} "
                "away and save the model afterwards."
            )
        if overwrite or not crc or undo != RECIPIENT:
            raise InputError(
                "overwrite=, crc= and undo= are for a recipient that is a file; leave them away "
                "for a live model."
            )
        from tfreuse.transplant import assigning  # imports TensorFlow

        return assigning.apply(
            plan, self.donor, self.recipient, optimizer=optimizer, dry_run=dry_run
        )


def check_plan(plan: Any) -> None:
    """Raises InputError if the argument is no plan, for example the path of a plan file."""
    if not isinstance(plan, Plan):
        raise InputError(
            f"a plan is made by transplant.plan, or read by transplant.load(path, donor, "
            f"recipient); got a {type(plan).__name__}."
        )


@contextlib.contextmanager
def opened(donor: Model, recipient: Model) -> Iterator[Pair]:
    """Opens a donor and a recipient, each a path or a live model.

    Raises:
        InputError: a file cannot be read.
    """
    with open_model(donor) as opened_donor, open_model(recipient) as opened_recipient:
        yield Pair(opened_donor, opened_recipient)
