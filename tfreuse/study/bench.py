"""Measures the arms of one recipient: transplant, evaluate, undo, again and again.

All networks' moving statistics are first re-estimated exactly on training images, so that
recalibration after a transplant repairs the transplant and not the training.
"""

import functools
import pathlib
import time
from collections.abc import Collection, Iterator, Sequence

import keras
import numpy as np

from tfreuse import (
    files,
    models,
    roles,
    rundir,
    training,
    transplant,
)
from tfreuse import plan as plan_module
from tfreuse.models import saving
from tfreuse.records import UNMOVED, Record
from tfreuse.runners import Output
from tfreuse.specs import REPAIRS
from tfreuse.study import distances, donors, treatments
from tfreuse.study.design import Block
from tfreuse.study.repairs import FineTuner, Probe, Stitches
from tfreuse.study.treatments import Arm
from tfreuse.training import (
    evaluation,
    folding,
    recalibration,
    sweep,
)

_PROBED = 32  # calibration images on which outputs are compared
_PLACES = 1024  # of these, for each layer
_STITCHED = 4096  # places of all calibration images that a stitch is fitted on


def measure(output: Output, bench: "Bench") -> None:
    """Measures every arm of the bench that `output` has no record of."""
    todo = bench.arms
    count = sum(len(arm.repairs) for arm in todo)
    number = 0
    for arm in todo:
        for record, per_image in bench.records(arm, output.keys):
            output.record(record, per_image)
        number += len(arm.repairs)
        output.progress(number / count, f"arm {number}/{count}")


class Bench:
    """A recipient, its donors and its test images in memory, ready for one arm after another."""

    def __init__(self, block: Block, models_dir: pathlib.Path) -> None:
        self.block = block
        network = block.parts["recipient"]
        self.train_spec = network.train
        specs = block.specs
        self._train_split = training.split(specs.data, "train", network.train)
        self.test = training.split(specs.data, "test", network.train)
        clean = donors.first_images(self._train_split, specs.study.calibration_examples)
        self.images = donors.as_input(clean, network.train.corruption)
        path = models_dir / network.name / "model.keras"
        self.model = models.with_stages(saving.load(path), block.model.stages)
        self._digest = files.file_digest(path)
        self.recalibrate = recalibration.Recalibrator(self.model, self.images)
        self.recalibrate()
        self.evaluate = self._evaluator(self.model)
        self.before = self.evaluate()
        self.values = transplant.values(self.model)
        self.variables = transplant.index(self.model)
        self.arms = self._in_order()
        self._stopping(self.evaluate.sweep, REPAIRS)
        if self.recalibrate.sweep is not None:
            self._stopping(self.recalibrate.sweep, set(REPAIRS) - {"none"})
        self._spread = _channel_spread(self.model, self.images[:_PROBED])
        self._scales = _scales(self.model, self.variables)
        self.donors = donors.Donors(
            block, models_dir, self.model, self._digest, clean, self._train_split
        )

    def _in_order(self) -> list[Arm]:
        """All arms, those of each kind of site in the order in which data meet them.

        In this order `tfreuse.training.sweep` does least again.
        """
        study = self.block.specs.study
        places = treatments.sites(self.model, study.sites)
        found = treatments.arms(places, self.variables, study, self.block.link)
        kinds = list(dict.fromkeys(arm.site.kind for arm in found))
        first = self._places(self.evaluate.sweep, found)
        order = sorted(
            range(len(found)), key=lambda n: (kinds.index(found[n].site.kind), first[n])
        )
        return [found[n] for n in order]

    def _places(self, swept: sweep.Sweep, arms: Sequence[Arm]) -> list[int]:
        """Where in the order of a sweep's operations each arm is first felt."""
        held = transplant.variables(self.model)
        place = {v.path: swept.place([held[v.path]]) for v in self.variables}
        members = {arm.group: roles.expand(arm.group) for arm in arms}
        return [
            min(
                place[variable.path]
                for variable in self.variables
                if variable.layer in arm.site.layers
                and variable.role in members[arm.group]
            )
            for arm in arms
        ]

    def _stopping(self, swept: sweep.Sweep, repairs: Collection[str]) -> None:
        """Has frontiers kept where arms with one of the repairs are first felt."""
        arms = [arm for arm in self.arms if set(repairs).intersection(arm.repairs)]
        swept.stop_at(self._places(swept, arms))

    def _evaluator(self, model: keras.Model) -> evaluation.Evaluator:
        if self.block.specs.study.fold_batch_norm:
            model = folding.folded(model)
        train = self.train_spec
        return evaluation.Evaluator(
            model, self.test, train.task, corruption=train.corruption, sweeping=True
        )

    def records(
        self, arm: Arm, done: Collection[tuple[str, ...]]
    ) -> Iterator[tuple[Record, np.ndarray]]:
        """Measures the arm with each repair, and puts everything back."""
        todo = [r for r in arm.repairs if (*_key(self.block, arm), r) not in done]
        for aligned in (False, True):
            own = [r for r in todo if r.startswith("permutation") == aligned]
            if own:
                yield from self._transplanted(arm, own, aligned)

    def take(self, groups: Sequence[str]) -> None:
        """Takes the groups of all layers from the treatment's donor, until `restore`."""
        donor = self.donors.get("transfer")
        (everywhere,) = treatments.sites(self.model, ("all",))
        plan = plan_module.make(
            donor.variables, self.variables, roles=groups, layers=everywhere.layers
        )
        transplant.apply(plan, donor.values, self.model)

    def restore(self) -> None:
        """Puts all of the recipient's parameters back."""
        transplant.undo(self.values, self.model)

    def _transplanted(
        self, arm: Arm, repairs: Sequence[str], aligned: bool
    ) -> Iterator[tuple[Record, np.ndarray]]:
        """Transplants once and measures with each of the repairs.

        What repairs nothing comes first, fine-tuning last. All others start by setting every
        statistic anew, so that it does not matter what was measured before them.
        """
        donor = self.donors.get(arm.control, arm.draw)
        values = donor.values
        if aligned:
            values = self.donors.aligned(arm.control, arm.draw)
        plan = plan_module.make(
            donor.variables,
            self.variables,
            roles=arm.group.split("+"),
            layers=arm.site.layers,
            adapters=[("*", f"blend:{arm.strength:g}")] if arm.strength < 1 else (),
        ).check()
        repairs = sorted(repairs, key=REPAIRS.index)
        started = time.monotonic()
        displaced = transplant.apply(plan, values, self.model)
        try:
            facts = self._facts(arm, plan, donor)
            for repair in repairs:
                counts = self._repaired(arm, repair)
                now = time.monotonic()
                record = Record(
                    **facts,
                    repair=repair,
                    after=counts.value,
                    counts=counts.sums(),
                    per_image=None,
                    seconds=round(now - started, 4),
                )
                yield record, counts.per_image
                started = now
        finally:
            if set(repairs) <= {"none", "permutation"}:
                transplant.undo(displaced, self.model)
            else:
                self.restore()

    def _repaired(self, arm: Arm, repair: str) -> evaluation.Counts:
        """What the transplanted model gives with the repair."""
        if repair not in ("none", "permutation"):
            self.recalibrate()
        if repair == "stitch":
            return self._stitched(arm)
        if repair == "fine_tuning":
            self._fine_tune()
        return self.evaluate()

    def _stitched(self, arm: Arm) -> evaluation.Counts:
        """With the stage's statistics re-estimated and its output led back to the old one.

        Behind the stitch everything is as the recipient was trained, its statistics too.
        """
        stitches, evaluate = self._stitches
        outside = {
            variable.path: self.values[variable.path]
            for variable in self.variables
            if variable.role in roles.GROUPS["stats"]
            and variable.layer not in arm.site.layers
        }
        transplant.undo(outside, self.model)
        stage = arm.site.name
        end = models.stage_ends(self.model)[stage]
        stitches.close(stage, self._probe_ends(end), self._own_ends[end])
        try:
            return evaluate()
        finally:
            stitches.open()

    @functools.cached_property
    def _stitches(self) -> tuple[Stitches, evaluation.Evaluator]:
        stitches = Stitches(self.model)
        evaluate = self._evaluator(stitches.model)
        self._stopping(evaluate.sweep, ("stitch",))
        return stitches, evaluate

    @functools.cached_property
    def _fine_tune(self) -> FineTuner:
        steps = self.block.specs.study.fine_tuning_steps
        return FineTuner(self.model, self._train_split, self.train_spec, steps)

    @property
    def foreign_stages(self) -> dict[str, str]:
        """The stage of each layer; {} if the layers' names begin with it, as ours do."""
        found = models.stages(self.model)
        told = {layer: stage for stage, names in found.items() for layer in names}
        ours = all(layer.startswith(f"{stage}_") for layer, stage in told.items())
        return {} if ours else told

    @functools.cached_property
    def _probe(self) -> Probe:
        """Outputs of every stage's end and of every layer with parameters."""
        names = list(models.stage_ends(self.model).values())
        names += [name for own in models.stages(self.model).values() for name in own]
        names = list(dict.fromkeys(names))
        probe = Probe(self.model, names, self.images[:_PROBED], _PLACES)
        self._stopping(probe.sweep, REPAIRS)
        return probe

    @functools.cached_property
    def _probe_ends(self) -> Probe:
        ends = list(models.stage_ends(self.model).values())
        probe = Probe(self.model, ends, self.images, _STITCHED)
        self._stopping(probe.sweep, ("stitch",))
        return probe

    @functools.cached_property
    def _own_outputs(self) -> dict[str, np.ndarray]:
        return self._of_recipient(self._probe)

    @functools.cached_property
    def _own_ends(self) -> dict[str, np.ndarray]:
        return self._of_recipient(self._probe_ends)

    def _of_recipient(self, probe: Probe) -> dict[str, np.ndarray]:
        """The recipient's own features, whatever is transplanted at the moment."""
        present = transplant.values(self.model)
        self.restore()
        try:
            return probe.all()
        finally:
            transplant.undo(present, self.model)

    def _facts(self, arm: Arm, plan: plan_module.Plan, donor: donors.Donor) -> dict:
        """The fields of the arm's records that do not depend on the repair.

        Read from the model, right after the transplant: what was moved, and what it changed.
        """
        read = transplant.reader(self.model)
        new = {e.recipient.path: read(e.recipient) for e in plan.copies}
        pairs = [(self.values[path], value) for path, value in new.items()]
        scales = [s for s in self._scales if s.layer in arm.site.layers]
        block = self.block
        return {
            "study": block.specs.digest,
            "architecture": block.architecture,
            "direction": block.direction,
            "link": block.link,
            "seed": block.seed,
            "donor": donor.name,
            "donor_digest": donor.digest,
            "recipient": block.parts["recipient"].name,
            "recipient_digest": self._digest,
            "control": arm.control,
            "draw": arm.draw,
            "site_kind": arm.site.kind,
            "site": arm.site.name,
            "depth": arm.site.depth,
            "group": arm.group,
            "strength": arm.strength,
            "variables": len(pairs),
            **distances.between(pairs),
            **distances.scale_and_offset(scales, self.values, new),
            **self._output_change(arm),
            **self._bias_shift(plan, new),
            "metric": evaluation.METRIC[self.train_spec.task],
            "before": self.before.value,
            "floor": self.before.floor,
            "images": len(self.before.per_image),
            "versions": _versions(),
        }

    def _output_change(self, arm: Arm) -> dict[str, float | None]:
        """How far the output of a single layer or stage is from the recipient's own."""
        if arm.site.kind == "layer":
            name = arm.site.name
        elif arm.site.kind == "stage":
            name = models.stage_ends(self.model)[arm.site.name]
        else:
            name = ""
        if not name or "+" in arm.group or arm.strength < 1 or arm.draw:
            return {"output_error": None, "cka": None}  # nothing is made of them
        return distances.of_outputs(self._own_outputs[name], self._probe(name))

    def _bias_shift(self, plan: plan_module.Plan, new: transplant.Values) -> dict:
        shifts = [
            (np.abs(new[path] - self.values[path]) / self._spread[layer]).ravel()
            for entry in plan.copies
            for path, layer in [(entry.recipient.path, entry.recipient.layer)]
            if entry.recipient.role == "bias" and layer in self._spread
        ]
        shifts = np.concatenate(shifts) if shifts else np.empty(0)
        return {
            "bias_shift": float(np.median(shifts)) if shifts.size else None,
            "bias_moved": float(np.mean(shifts >= UNMOVED)) if shifts.size else None,
        }


_versions = functools.cache(rundir.versions)


def _key(block: Block, arm: Arm) -> tuple[str, ...]:
    """`Record.key` without the repair."""
    return (
        block.architecture,
        block.direction,
        block.link,
        str(block.seed),
        arm.control,
        str(arm.draw),
        arm.site.kind,
        arm.site.name,
        arm.group,
        f"{arm.strength:g}",
    )


def _channel_spread(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Standard deviation of each output channel of each layer with a bias, by layer name."""
    layers = [layer for layer in model.layers if getattr(layer, "use_bias", False)]
    if not layers:
        return {}
    outputs = keras.Model(model.input, [layer.output for layer in layers])(images)
    return {
        layer.name: np.maximum(
            np.std(np.asarray(output, np.float32), axis=(0, 1, 2)), 1e-12
        )
        for layer, output in zip(layers, outputs, strict=True)
    }


def _scales(
    model: keras.Model, variables: Sequence[plan_module.Variable]
) -> list[distances.Scale]:
    """Every batch normalization with the convolution whose bias it takes off again."""
    paths = {(v.layer, v.role): v.path for v in variables}
    feeds = transplant.edges(model)
    found = []
    for layer in recalibration.normalizations(model):
        before = feeds.get(layer.name, ())
        bias = paths.get((before[0], "bias")) if len(before) == 1 else None
        gamma, beta = (paths.get((layer.name, role)) for role in ("gamma", "beta"))
        mean, variance = (paths[layer.name, r] for r in roles.GROUPS["stats"])
        found.append(
            distances.Scale(
                layer.name, layer.epsilon, gamma, beta, mean, variance, bias
            )
        )
    return found
