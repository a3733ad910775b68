"""Moves parameters between models, live or in files: plan, apply, verify, undo, diff, info.

    plan = transplant.plan("donor.keras", model, roles="stats", layers=["encoder_*"])
    print(plan.table())                                     # nothing has been written
    displaced = transplant.apply(plan, "donor.keras", model)
    transplant.undo(displaced, model)                       # bit for bit as before

    files = "donor.keras", "recipient.keras"
    plan = transplant.plan(*files, roles="stats")
    transplant.apply(plan, *files, "out.keras")             # writes out.keras.undo beside it
    transplant.verify(plan, *files, "out.keras").check()
    transplant.undo("out.keras")                            # is recipient.keras again

Either side is a keras.Model or a path, in any format of `tfreuse.checkpoints`; a live
recipient is changed in place, a file is never changed. `plan` decides and writes nothing;
`apply` decides nothing and is all or nothing. TensorFlow is imported only for a live model, or
for a file that is a TensorFlow checkpoint.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfreuse import checkpoints
from tfreuse.checkpoints.writable import RECIPIENT
from tfreuse.errors import InputError
from tfreuse.plan import Plan, Variable
from tfreuse.transplant import alignment, comparison, inspection, proof
from tfreuse.transplant import channels as channels_module
from tfreuse.transplant.applied import Applied, Displaced
from tfreuse.transplant.inspection import Finding
from tfreuse.transplant.opening import Model, open_model
from tfreuse.transplant.pair import Pair, check_plan, opened
from tfreuse.transplant.planfile import load, save
from tfreuse.transplant.proof import Proof

if TYPE_CHECKING:
    import keras
    import numpy as np

__all__ = [
    "Applied",
    "Displaced",
    "Finding",
    "Pair",
    "Proof",
    "apply",
    "channels_of",
    "diff",
    "edges",
    "examine",
    "index",
    "info",
    "load",
    "opened",
    "plan",
    "reader",
    "refresh",
    "save",
    "ties",
    "undo",
    "values",
    "variables",
    "verify",
]

Path = str | os.PathLike
Values = Mapping[str, Any]  # arrays or tensors by variable path


def plan(
    donor: Model,
    recipient: Model,
    *,
    roles: str | Iterable[str] = "all",
    layers: str | Iterable[str] = ("*",),
    stages: str | Iterable[str] = (),
    depth: str | Sequence[float] | None = None,
    mapping: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    allow_missing: str | Iterable[str] = (),
    allow_unused: str | Iterable[str] = (),
    adapters: str | Iterable[str] = (),
    channels: Mapping[str, Sequence[int]] | None = None,
) -> Plan:
    """Plans a transplant; reads arrays up to their first difference, to mark equal ones SAME.

    Args:
        donor, recipient: a live model or a path each; nothing is written.
        roles, layers, stages, depth, mapping, allow_missing, allow_unused, adapters: see
            `tfreuse.plan.make`.
        channels: indices of the output channels that move, by name or path of the recipient's
            layer: slices of its kernel with its bias, and of the batch normalization behind it.
            All else stays the recipient's, also the slices by which the next layers read these
            channels. None: layers move whole.

    Raises:
        InputError: a file cannot be read, a pattern matches nothing, or nothing is selected.
            Selected variables that cannot move are in `Plan.problems`; `Plan.check` raises.
    """
    with opened(donor, recipient) as pair:
        return pair.plan(
            roles=roles,
            layers=layers,
            stages=stages,
            depth=depth,
            mapping=mapping,
            allow_missing=allow_missing,
            allow_unused=allow_unused,
            adapters=adapters,
            channels=channels,
        )


def apply(
    plan: Plan,
    donor: Model | Values,
    recipient: Model,
    out: Path | None = None,
    *,
    optimizer: str = "zero",
    overwrite: bool = False,
    crc: bool = True,
    undo: str = RECIPIENT,
    dry_run: bool = False,
) -> Applied | Displaced:
    """Carries out a plan, all or nothing.

    Args:
        plan: made by `plan` of these two models. For a file the plan is made again, and must
            be equal. A live recipient is not planned again: only the path, shape and dtype of
            each variable that moves are checked, so that one plan serves all models of an
            architecture; whether donor and recipient were swapped is not.
        donor: a live model or a path; for a live recipient also arrays by variable path.
        recipient: a live model, changed in place (compiled functions see the new values), or
            the path of a file, which stays as it is.
        out: file to write, with the recipient's ending, for a recipient that is a file.
            `out`.undo is written beside it.
        optimizer: policy for the optimizer state of a live recipient. "zero": momentum and
            moments of moved variables start again, since they belong to the old values;
            "keep": they stay; "drop": all state starts again. Moving averages of weights
            (`use_ema`) are overwritten in any case, or they would undo the transplant.
        overwrite: replace `out` if it exists; only for a file.
        crc: read files whole, to check them against their own checksums; only for a file.
        undo: where `undo` takes the replaced values from; only for a file. "recipient": from the
            recipient, which must stay as it is; "copy": from `out`.undo, which is as large as
            they are.
        dry_run: check everything and write nothing.

    Returns:
        For a live recipient the displaced values, for `undo`; for a file a report.

    Raises:
        InputError: the plan has problems or does not fit the models, a value is not finite or is
            a variance below zero, or `out` cannot be written. Nothing has changed then.
    """
    with opened(donor, recipient) as pair:
        return pair.apply(
            plan,
            out,
            optimizer=optimizer,
            overwrite=overwrite,
            crc=crc,
            undo=undo,
            dry_run=dry_run,
        )


def verify(
    plan: Plan, donor: Model | Values, recipient: Model | Values, out: Model
) -> Proof:
    """Proves that `out` is the recipient with exactly the plan's variables from the donor.

    Of two files, compares the digest of every array and everything else in the files. For a
    live model, keep its values before the transplant, by which all others are compared:

        before = transplant.values(model)
        transplant.apply(plan, donor, model)
        transplant.verify(plan, donor, before, model).check()

    Args:
        plan: the plan that was applied.
        donor: as given to `apply`, unchanged since.
        recipient: the recipient before the transplant: its path, its values, or another
            live model than `out`.
        out: the recipient after the transplant: a path or a live model.

    Returns:
        A proof; `Proof.check` raises InputError unless there is no difference.

    Raises:
        InputError: a file cannot be read, the plan is not of these models, values before
            the transplant are missing, or `recipient` and `out` are the same live model.
    """
    check_plan(plan)
    with (
        open_model(donor) as opened_donor,
        open_model(recipient) as opened_recipient,
        open_model(out) as opened_out,
    ):
        return proof.verify(plan, opened_donor, opened_recipient, opened_out)


def undo(
    out: Path | Values,
    model: "keras.Model | None" = None,
    *,
    recipient: Path | None = None,
    dry_run: bool = False,
) -> str | None:
    """Restores a recipient, bit for bit, all or nothing.

    Args:
        out: a file that `apply` wrote, or the values that it displaced from a live model; also
            a plain mapping, such as `values(model)` gave before.
        model: the live model that they were displaced from. A plain mapping does not know its
            model; shapes and dtypes are checked.
        recipient: for a file: its recipient, if that is no longer where it was.
        dry_run: for a file: check everything and write nothing.

    Returns:
        For a file "crc32" if it was proven to be the recipient, or "unverified" if its
        checksum is unknown, because `apply` ran with crc=False. None for a live model.

    Raises:
        InputError: the undo file is missing or of another output, the recipient that it
            names moved or changed, the values were displaced
            from another model, or shapes or dtypes of the model have changed.
    """
    if model is None:
        if isinstance(out, Mapping):
            raise InputError(
                "undo(displaced, model) needs the model that values were displaced from."
            )
        if not isinstance(out, str | os.PathLike):
            raise InputError(
                "undo takes the path of a file that apply wrote, or the displaced values and "
                f"their model; got a {type(out).__name__}."
            )
        return checkpoints.undo(out, recipient=recipient, dry_run=dry_run)
    if not isinstance(out, Mapping):
        raise InputError(
            "undo(displaced, model) takes the values that apply returned; for a file, leave "
            f"the model away; got a {type(out).__name__}."
        )
    from tfreuse.transplant import assigning  # imports TensorFlow

    return assigning.undo(out, model)


def diff(
    donor: Model, recipient: Model, **options: Any
) -> tuple[Plan, list[comparison.Row]]:
    """Compares the variables that two models have in common, by stage and role.

    Args:
        donor, recipient: a live model or a path each.
        options: as `plan` takes them.

    Returns:
        The plan of the pairs, whose problems are variables without a counterpart, and rows
        for `comparison.table`.
    """
    with opened(donor, recipient) as pair:
        return pair.diff(**options)


def info(model: Model) -> dict[str, Any]:
    """Describes a model as plain values; "text" is the same for reading.

    Reads every value once: "checked" is the check against the file's own checksums, "doctor"
    the findings of `examine`.

    Raises:
        InputError: a file cannot be read, or is damaged.
    """
    with open_model(model) as opened_model:
        return inspection.info(opened_model)


def examine(model: Model) -> tuple[Finding, ...]:
    """Lists oddities that a transplant cannot address or should not trust."""
    with open_model(model) as opened_model:
        return inspection.examine(opened_model)


def index(model: Model) -> tuple[Variable, ...]:
    """Returns descriptions of a model's variables, as `tfreuse.plan.make` takes them."""
    with open_model(model) as opened_model:
        return opened_model.variables


def edges(model: Model) -> dict[str, tuple[str, ...]] | None:
    """Returns the paths that each layer reads from, by its path; None if unknown.

    Nested models are looked through. A layer that is called several times reads from all
    that its calls read from.
    """
    with open_model(model) as opened_model:
        return opened_model.edges


def channels_of(model: Model) -> dict[str, tuple[str, ...]]:
    """Returns the layers whose output channels can be chosen, each with those that follow it.

    By path of the layer its own and those of the batch normalizations behind it.

    Raises:
        InputError: the model has its channels first.
    """
    with open_model(model) as opened_model:
        return channels_module.groups(opened_model)


def ties(model: Model) -> alignment.Ties:
    """Finds the axes of a model's variables that share an order; see `alignment`.

    Raises:
        InputError: the model is no graph of layers, or has channels first.
    """
    with open_model(model) as opened_model:
        return alignment.ties(opened_model)


def values(model: "keras.Model") -> "dict[str, np.ndarray]":
    """Copies the arrays of a live model, by variable path."""
    from tfreuse.transplant import live

    return {path: live.read(array) for path, array in live.variables(model).items()}


def variables(model: "keras.Model") -> "dict[str, keras.Variable]":
    """Returns the variables of a live model, by path."""
    from tfreuse.transplant import live

    return live.variables(model)


def reader(model: "keras.Model") -> "Callable[[Variable], np.ndarray]":
    """Returns a function that reads one variable of a live model, for `comparison.rows`."""
    from tfreuse.transplant import live

    return live.LiveModel(model).read


def refresh(model: "keras.Model") -> int:
    """Brings a live model in line after its variables were assigned; see `derived.refresh`."""
    from tfreuse.transplant import derived

    return derived.refresh(model)
