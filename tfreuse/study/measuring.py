"""Measures the arms of one recipient: plan -> transplant -> repair -> measure -> record.

    opened = workspace.open_workspace(recipient.load(block, models_dir))
    measure(output, opened)

`measure_arm` is that line, for one arm; the functions below it are its steps, in order.
"""

import contextlib
import pathlib
import time
from collections.abc import Callable, Collection, Iterator

import numpy as np

from tfreuse import models, roles, rundir, transplant
from tfreuse import plan as plan_module
from tfreuse.plan import Plan
from tfreuse.plan.channels import Channels, part
from tfreuse.records import UNMOVED, Record, age_key
from tfreuse.runners import Output
from tfreuse.specs import REPAIRS
from tfreuse.study import distances, treatments
from tfreuse.study import recipient as recipient_module
from tfreuse.study.design import Block
from tfreuse.study.donors import Donor
from tfreuse.study.recipient import Recipient, restore
from tfreuse.study.treatments import Arm
from tfreuse.study.workspace import Workspace, open_workspace
from tfreuse.training import evaluation

_WITHOUT_CHANGE = ("none", "permutation")  # these repairs write nothing into the model
_NO_OUTPUTS = {"output_error": None, "cka": None}


def measure_block(output: Output, block: Block, models_dir: pathlib.Path) -> Recipient:
    """Opens a block's recipient and measures all its arms; returns the recipient, restored."""
    opened = recipient_module.load(block, models_dir, output.cache)
    if stages := treatments.foreign_stages(opened.model):
        output.annotate("stages", {block.architecture: stages})
    if block.model.model:
        output.annotate("skips", {block.architecture: treatments.skips(opened.model)})
    measure(output, open_workspace(opened))
    return opened


def measure(output: Output, workspace: Workspace) -> None:
    """Measures every arm that `output` has no record of, and writes the records to it."""
    total = sum(len(arm.repairs) for arm in workspace.arms)
    done = 0
    for arm in workspace.arms:
        for record, per_image in measure_arm(arm, workspace, output.keys):
            output.record(record, per_image)
        done += len(arm.repairs)
        output.progress(done / total, f"arm {done}/{total}")


def measure_arm(
    arm: Arm, workspace: Workspace, recorded: Collection[tuple[str, ...]]
) -> Iterator[tuple[Record, np.ndarray]]:
    """Measures one arm with each of its repairs, and restores the recipient.

    Args:
        arm: the treatment.
        workspace: the recipient with its original values, and all that arms share.
        recorded: keys of records (`Record.key`) that exist; these repairs are left out.

    Yields:
        each record with its counts by image, as `Counts.per_image`.
    """
    recipient = workspace.recipient
    for donor, repairs in pending(arm, recipient, recorded):
        channels = workspace.orders.chosen(arm, donor) if arm.order else None
        plan = plan_arm(arm, donor, recipient, channels)
        started = time.monotonic()
        displaced = transplant.apply(plan, donor.values, recipient.model)
        try:
            facts = describe(arm, plan, donor, workspace)
            for repair in repairs:
                with repaired(arm, repair, workspace) as evaluate:
                    counts = evaluate()
                ended = (
                    time.monotonic()
                )  # the time to write the record is the next one's
                yield (
                    Record(
                        **facts,
                        repair=repair,
                        after=counts.value,
                        counts=counts.sums(),
                        per_image=None,
                        seconds=round(ended - started, 4),
                    ),
                    counts.per_image,
                )
                started = ended
        finally:
            # Without a repair only the transplanted arrays changed, and writing a few of them
            # is faster; recalibration and fine-tuning can have changed any array.
            if set(repairs) <= set(_WITHOUT_CHANGE):
                transplant.undo(displaced, recipient.model)
            else:
                restore(recipient)


def pending(
    arm: Arm, recipient: Recipient, recorded: Collection[tuple[str, ...]]
) -> Iterator[tuple[Donor, list[str]]]:
    """Yields each donor of the arm with the repairs that are still to be measured, in order.

    A permutation repairs the donor, not the model: it is a transplant of its own, of the donor
    with its channels in the recipient's order. The order of the other repairs matters: "none"
    measures the model as transplanted, so it is first, and fine-tuning, which changes all
    parameters, is last. Those in between begin by re-estimating every moving statistic, so
    that no repair depends on those measured before it.
    """
    key = _key(recipient.block, arm)
    repairs = [repair for repair in arm.repairs if (*key, repair) not in recorded]
    repairs.sort(key=REPAIRS.index)
    in_place = [repair for repair in repairs if not repair.startswith("permutation")]
    permuted = [repair for repair in repairs if repair.startswith("permutation")]
    donor = arm.control, arm.draw, arm.updates
    if in_place:
        yield recipient.donors.get(*donor), in_place
    if permuted:
        yield recipient.donors.aligned(*donor), permuted


def plan_arm(
    arm: Arm, donor: Donor, recipient: Recipient, channels: Channels | None = None
) -> Plan:
    """Plans the arm's transplant and checks it.

    Args:
        arm, donor, recipient: the treatment, and its two sides.
        channels: output channels that move, by path of the layer; None: layers move whole.

    Raises:
        InputError: a parameter of the site has no counterpart in the donor.
    """
    return plan_module.make(
        donor.variables,
        recipient.variables,
        roles=arm.group.split("+"),
        layers=arm.site.layers,
        adapters=[("*", f"blend:{arm.strength:g}")] if arm.strength < 1 else (),
        channels=channels,
    ).check()


@contextlib.contextmanager
def repaired(
    arm: Arm, repair: str, workspace: Workspace
) -> Iterator[Callable[[], evaluation.Counts]]:
    """Repairs the transplanted model; yields the evaluation that measures it."""
    recipient = workspace.recipient
    if repair not in _WITHOUT_CHANGE:
        recipient.recalibrate()
    if repair == "stitch":
        _restore_statistics_outside(arm, recipient)
        end = models.stage_ends(recipient.model)[arm.site.name]
        features = workspace.stage_probe(end), workspace.recipient_stage_outputs[end]
        workspace.stitches.close(arm.site.name, *features)
        try:
            yield workspace.stitched_evaluate
        finally:
            workspace.stitches.open()
        return
    if repair == "fine_tuning":
        workspace.fine_tune()
    yield recipient.evaluate


def _restore_statistics_outside(arm: Arm, recipient: Recipient) -> None:
    """Writes the original moving statistics back, except those of the arm's site.

    A stitch brings the stage's output back to the recipient's own; the layers behind it fit
    their original statistics then, not those re-estimated on the unstitched output.
    """
    outside = {
        variable.path: recipient.values[variable.path]
        for variable in recipient.variables
        if variable.role in roles.GROUPS["stats"]
        and variable.layer not in arm.site.layers
    }
    transplant.undo(outside, recipient.model)


def describe(arm: Arm, plan: Plan, donor: Donor, workspace: Workspace) -> dict:
    """Returns the fields of the arm's records that do not depend on the repair.

    The model is read right after the transplant: values that moved, and the change in outputs.
    """
    recipient = workspace.recipient
    read = transplant.reader(recipient.model)
    new = {entry.recipient.path: read(entry.recipient) for entry in plan.copies}
    pairs = [
        tuple(
            part(entry.adapters, entry.recipient, values[entry.recipient.path])
            for values in (recipient.values, new)
        )
        for entry in plan.copies
    ]
    scales = [
        scale
        for scale in workspace.scales
        if scale.layer in arm.site.layers and not arm.order
    ]
    block = recipient.block
    return {
        "study": block.specs.digest,
        "architecture": block.architecture,
        "direction": block.direction,
        "link": block.link,
        "seed": block.seed,
        "donor": donor.name,
        "donor_digest": donor.digest,
        "recipient": block.parts["recipient"].name,
        "recipient_digest": recipient.digest,
        "control": arm.control,
        "draw": arm.draw,
        "updates": arm.updates,
        "site_kind": arm.site.kind,
        "site": arm.site.name,
        "depth": arm.site.depth,
        "group": arm.group,
        "strength": arm.strength,
        "variables": len(pairs),
        **distances.between(pairs),
        **distances.scale_and_offset(scales, recipient.values, new),
        **_output_change(arm, workspace),
        **_bias_shift(plan, new, workspace),
        **({"order": arm.order, "share": arm.share} if arm.order else {}),
        "metric": recipient.before.metric,
        "before": recipient.before.value,
        "floor": recipient.before.floor,
        "images": len(recipient.before.per_image),
        "versions": rundir.versions(),
    }


def _output_change(arm: Arm, workspace: Workspace) -> dict[str, float | None]:
    """Compares the output of a single layer or stage with the recipient's original one.

    Unions of groups, blends, repeated draws and donors of other ages are left out: no analysis
    uses their outputs, and a probe costs about as much as an evaluation.
    """
    site = arm.site
    if site.kind not in ("layer", "stage"):
        return _NO_OUTPUTS
    if "+" in arm.group or arm.strength < 1 or arm.draw or arm.updates is not None:
        return _NO_OUTPUTS
    layer = site.name
    if site.kind == "stage":
        layer = models.stage_ends(workspace.recipient.model)[site.name]
    return distances.of_outputs(
        workspace.recipient_outputs[layer], workspace.probe(layer)
    )


def _bias_shift(
    plan: Plan, new: transplant.Values, workspace: Workspace
) -> dict[str, float | None]:
    """Median shift of the biases in standard deviations of their channels' outputs.

    `bias_moved` is the share of biases that moved by at least `records.UNMOVED` of these.
    """
    values, spread = workspace.recipient.values, workspace.channel_spread
    moves = (
        [] if plan.channels else plan.copies
    )  # of chosen channels alone: no analysis
    shifts = [
        (np.abs(new[path] - values[path]) / spread[layer]).ravel()
        for entry in moves
        for path, layer in [(entry.recipient.path, entry.recipient.layer)]
        if entry.recipient.role == "bias" and layer in spread
    ]
    shifts = np.concatenate(shifts) if shifts else np.empty(0)
    return {
        "bias_shift": float(np.median(shifts)) if shifts.size else None,
        "bias_moved": float(np.mean(shifts >= UNMOVED)) if shifts.size else None,
    }


def _key(block: Block, arm: Arm) -> tuple[str, ...]:
    """Returns `Record.key` without the repair."""
    return (
        *block.owner,
        arm.control,
        str(arm.draw),
        arm.site.kind,
        arm.site.name,
        arm.group,
        f"{arm.strength:g}",
        *((arm.order, f"{arm.share:g}") if arm.order else ()),
        *age_key(arm.updates),
    )
