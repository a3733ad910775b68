"""Measures the arms of one recipient: transplant, evaluate, undo, again and again.

Both networks' moving statistics are first re-estimated exactly on training images, so that
recalibration after a transplant repairs the transplant and not the training.
"""

import dataclasses
import pathlib
import time
from collections.abc import Collection, Iterator, Sequence

import keras
import numpy as np

from tfreuse import (
    checkpoint,
    data,
    evaluation,
    files,
    models,
    recalibration,
    roles,
    rundir,
    transplant,
)
from tfreuse import plan as plan_module
from tfreuse.records import UNMOVED, Record
from tfreuse.study import treatments
from tfreuse.study.design import Block
from tfreuse.study.treatments import Arm

# Added to a replicate's seed: no network of the study was initialised from it.
_FRESH_SEED = 1_000_003


@dataclasses.dataclass(frozen=True)
class Donor:
    """Values that may be transplanted, and where they come from."""

    name: str
    digest: str
    variables: tuple[plan_module.Variable, ...]
    values: transplant.Values


def measure(send, block: Block, models_dir: pathlib.Path, done: frozenset) -> None:
    """Measures every arm of the block that is not in `done`; sends records and progress.

    Args:
        send: takes a Record, or (share done, text).
        block: what to measure.
        models_dir: where the trained networks are.
        done: keys of the records that exist.
    """
    bench = Bench(block, models_dir)
    todo = bench.arms()
    count = sum(len(arm.repairs) for arm in todo)
    number = 0
    for arm in todo:
        for record in bench.records(arm, done):
            send(record)
        number += len(arm.repairs)
        send((number / count, f"arm {number}/{count}"))


class Bench:
    """A recipient, its donors and its test images in memory, ready for one arm after another."""

    def __init__(self, block: Block, models_dir: pathlib.Path) -> None:
        self.block = block
        self._task = block.tasks[1]
        train = data.load(block.specs.data, "train")
        test = data.load(block.specs.data, "test")
        images = _first_images(train, block.specs.study.calibration_examples)
        self._paths = {
            part: models_dir / name / "model.keras"
            for part, name in block.networks.items()
        }
        self.model = checkpoint.load(self._paths["recipient"])
        self._digest = files.file_digest(self._paths["recipient"])
        self._recalibrate = recalibration.Recalibrator(self.model, images)
        self._recalibrate()
        self.evaluate = evaluation.Evaluator(self.model, test, self._task)
        self.before = self.evaluate()
        self.test = test
        self._values = transplant.values(self.model)
        self._variables = transplant.index(self.model)
        self._spread = _channel_spread(self.model, images[:64])
        self._images, self._num_classes = images, train.num_classes
        self._donors: dict[str, Donor] = {}

    def arms(self) -> list[Arm]:
        return treatments.arms(
            treatments.sites(self.model, self.block.specs.study.sites),
            self._variables,
            self.block.specs.study,
        )

    def records(self, arm: Arm, done: Collection[tuple[str, ...]]) -> Iterator[Record]:
        """Transplants once, measures with each repair, and puts everything back."""
        todo = [r for r in arm.repairs if (*_key(self.block, arm), r) not in done]
        if not todo:
            return
        donor = self._donor(arm.control)
        plan = plan_module.make(
            donor.variables, self._variables, roles=arm.group, layers=arm.site.layers
        ).check()
        started = time.monotonic()
        facts = self._facts(arm, plan, donor)
        displaced = transplant.apply(plan, donor.values, self.model)
        try:
            for repair in todo:
                if repair == "recalibration":
                    self._recalibrate()
                counts = self.evaluate()
                now = time.monotonic()
                yield Record(
                    **facts,
                    repair=repair,
                    after=counts.value,
                    counts=counts.sums(),
                    seconds=round(now - started, 4),
                )
                started = now
        finally:
            if "recalibration" in todo:
                displaced = {**displaced, **self._statistics()}
            transplant.undo(displaced, self.model)

    def keep(self, groups: Sequence[str]) -> None:
        """Transplants the groups at all layers from the treatment's donor, for good."""
        donor = self._donor("transfer")
        (everywhere,) = treatments.sites(self.model, ("all",))
        plan = plan_module.make(
            donor.variables, self._variables, roles=groups, layers=everywhere.layers
        )
        transplant.apply(plan, donor.values, self.model)
        self._recalibrate()

    def _statistics(self) -> transplant.Values:
        """The recipient's moving statistics, which recalibration overwrites."""
        return {
            variable.path: self._values[variable.path]
            for variable in self._variables
            if variable.role in roles.GROUPS["stats"]
        }

    def _donor(self, control: str) -> Donor:
        """The control's donor, made when it is first asked for."""
        if control not in self._donors:
            self._donors[control] = self._make_donor(control)
        return self._donors[control]

    def _make_donor(self, control: str) -> Donor:
        block = self.block
        if control == "self":
            name = block.networks["recipient"]
            return Donor(name, self._digest, self._variables, self._values)
        if control in ("reinitialised", "defaults"):
            model = models.build(
                block.specs.model,
                task=self._task,
                num_classes=self._num_classes,
                channels=block.specs.data.channels,
                seed=_FRESH_SEED + block.seed,
            )
            name, digest = control, self._digest
        else:
            name, path = block.networks[control], self._paths[control]
            model, digest = checkpoint.load(path), files.file_digest(path)
            recalibration.Recalibrator(model, self._images)()
        return Donor(name, digest, transplant.index(model), transplant.values(model))

    def _facts(self, arm: Arm, plan: plan_module.Plan, donor: Donor) -> dict:
        """The fields of the arm's records that do not depend on the repair."""
        pairs = [
            (entry, donor.values[entry.donor.path], self._values[entry.recipient.path])
            for entry in plan.copies
        ]
        squares = sum(float(np.square(new - old).sum()) for _, new, old in pairs)
        parameters = sum(old.size for _, _, old in pairs)
        shifts = [
            (np.abs(new - old) / self._spread[entry.recipient.layer]).ravel()
            for entry, new, old in pairs
            if entry.recipient.role == "bias" and entry.recipient.layer in self._spread
        ]
        shifts = np.concatenate(shifts) if shifts else np.empty(0)
        block = self.block
        return {
            "study": block.specs.digest,
            "architecture": block.specs.model.architecture,
            "direction": block.direction,
            "link": "independent",
            "seed": block.seed,
            "donor": donor.name,
            "donor_digest": donor.digest,
            "recipient": block.networks["recipient"],
            "recipient_digest": self._digest,
            "control": arm.control,
            "draw": 0,
            "site_kind": arm.site.kind,
            "site": arm.site.name,
            "depth": arm.site.depth,
            "group": arm.group,
            "strength": 1.0,
            "variables": len(pairs),
            "parameters": parameters,
            "changed": sum(int((new != old).sum()) for _, new, old in pairs),
            "rmse": float(np.sqrt(squares / parameters)),
            "relative_distance": None,
            "cosine": None,
            "scale_shift": None,
            "offset_shift": None,
            "output_error": None,
            "cka": None,
            "per_image": None,
            "bias_shift": float(np.median(shifts)) if shifts.size else None,
            "bias_moved": float(np.mean(shifts >= UNMOVED)) if shifts.size else None,
            "metric": evaluation.METRIC[self._task],
            "before": self.before.value,
            "floor": self.before.floor,
            "images": len(self.before.per_image),
            "versions": rundir.versions(),
        }


def _key(block: Block, arm: Arm) -> tuple[str, ...]:
    """`Record.key` without the repair."""
    return (
        block.specs.model.architecture,
        block.direction,
        "independent",
        str(block.seed),
        arm.control,
        "0",
        arm.site.kind,
        arm.site.name,
        arm.group,
        "1",
    )


def _first_images(split: data.Split, count: int) -> np.ndarray:
    """The first `count` images of the split, float32 [N, H, W, C] in [0, 1]."""
    count = min(count, split.size)
    found, have = [], 0
    for batch in data.evaluation_batches(split, 64):
        found.append(batch["image"].numpy())
        have += len(found[-1])
        if have >= count:
            break
    return np.concatenate(found)[:count]


def _channel_spread(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Standard deviation of each output channel of each layer with a bias, by layer name."""
    layers = [layer for layer in model.layers if getattr(layer, "use_bias", False)]
    outputs = keras.Model(model.input, [layer.output for layer in layers])(images)
    return {
        layer.name: np.maximum(
            np.std(np.asarray(output, np.float32), axis=(0, 1, 2)), 1e-12
        )
        for layer, output in zip(layers, outputs, strict=True)
    }
