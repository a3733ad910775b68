"""Everything that is kept in memory between the arms of one recipient, and their order.

workspace = open_workspace(recipient.load(block, models_dir))
for arm in workspace.arms: ...
"""

import dataclasses
import functools
from collections.abc import Collection, Sequence

import keras
import numpy as np

from tfreuse import models, roles, transplant
from tfreuse import plan as plan_module
from tfreuse.specs import REPAIRS
from tfreuse.study import treatments
from tfreuse.study.channels import Orders
from tfreuse.study.distances import Features, Scale
from tfreuse.study.recipient import Recipient, evaluator, restore
from tfreuse.study.repairs import FineTuner, Probe, Stitches
from tfreuse.study.treatments import Arm
from tfreuse.training import evaluation, recalibration, sweep

PROBED_IMAGES = 32  # calibration images on which outputs of layers are compared
PROBED_POSITIONS = 1024  # pixels of these images' feature maps, for each layer
STITCH_POSITIONS = 4096  # pixels of all calibration images that a stitch is fitted on


@dataclasses.dataclass(eq=False)
class Workspace:
    """Everything that is kept between the arms of one recipient.

    An arm takes milliseconds; loading a network or tracing a function takes seconds. So each
    part is made once: at the start, or, since few studies need it, when an arm first asks for
    it. None of it depends on the arms measured before.

    Attributes:
        recipient: the network in memory, its original values, its evaluator and recalibrator,
            and its donors (loaded or computed when first used, then kept).
        arms: all arms of the block, in the order in which they are measured cheapest.
        channel_spread: standard deviation of each output channel of each layer with a bias, by
            layer name: the unit of a shift of that bias.
        scales: the batch normalizations, for the change of each channel's scale and offset.
        probe: outputs of all layers with parameters and of all stages' ends, and
            recipient_outputs the same of the recipient with its original values: an arm's
            change of output is the difference of both.
        stage_probe: outputs of the stages' ends on all calibration images, and
            recipient_stage_outputs the same with original values, which stitches are fitted on.
        stitches, stitched_evaluate: a view of the model with a linear map behind each stage,
            and its evaluation.
        orders: orders of the channels of each layer, by scores of each donor.
        fine_tune: trains the model for a few steps, on the same batches every time.
    """

    recipient: Recipient
    arms: Sequence[Arm]
    channel_spread: dict[str, np.ndarray]
    scales: list[Scale]

    @functools.cached_property
    def probe(self) -> Probe:
        stages = models.stages(self.recipient.model)
        names = list(models.stage_ends(self.recipient.model).values())
        names += [name for layers in stages.values() for name in layers]
        images = self.recipient.images[:PROBED_IMAGES]
        return self._probe(
            list(dict.fromkeys(names)), images, PROBED_POSITIONS, REPAIRS
        )

    @functools.cached_property
    def recipient_outputs(self) -> dict[str, Features]:
        outputs = _of_original_values(self.recipient, self.probe)
        return {name: Features(output) for name, output in outputs.items()}

    @functools.cached_property
    def stage_probe(self) -> Probe:
        ends = list(models.stage_ends(self.recipient.model).values())
        return self._probe(ends, self.recipient.images, STITCH_POSITIONS, ("stitch",))

    @functools.cached_property
    def recipient_stage_outputs(self) -> dict[str, np.ndarray]:
        return _of_original_values(self.recipient, self.stage_probe)

    @functools.cached_property
    def stitches(self) -> Stitches:
        model = self.recipient.model
        return self.recipient.cache.get("stitches", (), lambda: Stitches(model))

    @functools.cached_property
    def stitched_evaluate(self) -> evaluation.Evaluator:
        recipient, stitches = self.recipient, self.stitches
        images = recipient.images, recipient.targets
        evaluate = recipient.cache.get(
            "stitched",
            (),
            lambda: evaluator(stitches.model, recipient.block, recipient.test, *images),
        )
        keep_frontiers(evaluate.sweep, recipient, self.arms, ("stitch",))
        evaluate.sweep.rebase()
        return evaluate

    def _probe(
        self,
        names: list[str],
        images: np.ndarray,
        positions: int,
        repairs: Collection[str],
    ) -> Probe:
        model = self.recipient.model
        probe = self.recipient.cache.get(
            "probe", positions, lambda: Probe(model, names, images, positions)
        )
        keep_frontiers(probe.sweep, self.recipient, self.arms, repairs)
        return probe

    @functools.cached_property
    def orders(self) -> Orders:
        return Orders(self.recipient)

    @functools.cached_property
    def fine_tune(self) -> FineTuner:
        recipient = self.recipient
        steps = recipient.block.specs.study.fine_tuning_steps
        return FineTuner(recipient.model, recipient.train, recipient.train_spec, steps)


def open_workspace(recipient: Recipient) -> Workspace:
    """Lists the recipient's arms in order and prepares its sweeps for them.

    Args:
        recipient: with its original values: the spread of channels is measured on them.
    """
    arms = in_sweep_order(recipient)
    keep_frontiers(recipient.evaluate.sweep, recipient, arms, REPAIRS)
    if recipient.recalibrate.sweep is not None:  # None: no batch normalization
        repaired = set(REPAIRS) - {"none"}
        keep_frontiers(recipient.recalibrate.sweep, recipient, arms, repaired)
    return Workspace(
        recipient,
        arms,
        _channel_spread(recipient.model, recipient.images[:PROBED_IMAGES]),
        _scales(recipient.model, recipient.variables),
    )


def in_sweep_order(recipient: Recipient) -> list[Arm]:
    """Lists all arms: kinds of sites one after another, and within each from input to output.

    Why this order: an evaluation (`tfreuse.training.sweep`) starts from activations cached in
    front of the first changed layer, and holds one such cache, which can be moved on from the
    cached layer to a later one but not back. Arms in the order of the layers move it through
    the network once for each kind of site; any other order computes the same layers again and
    again. Records do not depend on the order. The sort is stable: arms that begin at the same
    layer keep the order of `treatments.arms`, so the order of records is reproducible.
    """
    study = recipient.block.specs.study
    sites = treatments.sites(recipient.model, study.sites)
    arms = treatments.arms(sites, recipient.variables, study, recipient.block.link)
    kinds = list(dict.fromkeys(arm.site.kind for arm in arms))
    positions = first_positions(recipient.evaluate.sweep, recipient, arms)
    order = sorted(
        range(len(arms)), key=lambda i: (kinds.index(arms[i].site.kind), positions[i])
    )
    return [arms[i] for i in order]


def first_positions(
    swept: sweep.Sweep, recipient: Recipient, arms: Sequence[Arm]
) -> list[int]:
    """Returns the position of the first operation of the sweep that each arm changes."""
    weights = transplant.variables(recipient.model)
    position = {v.path: swept.position([weights[v.path]]) for v in recipient.variables}
    roles_of = {arm.group: roles.expand(arm.group) for arm in arms}
    return [
        min(
            position[variable.path]
            for variable in recipient.variables
            if variable.layer in arm.site.layers
            and variable.role in roles_of[arm.group]
        )
        for arm in arms
    ]


def keep_frontiers(
    swept: sweep.Sweep,
    recipient: Recipient,
    arms: Sequence[Arm],
    repairs: Collection[str],
) -> None:
    """Has the sweep cache activations only where an arm with one of the repairs begins.

    A frontier costs memory and the compilation of two functions, so none is kept where no arm
    begins: with `--sites=stage`, for example, at the stages' first layers alone.
    """
    measured = [arm for arm in arms if set(repairs).intersection(arm.repairs)]
    swept.cache_at(first_positions(swept, recipient, measured))


def _of_original_values(recipient: Recipient, probe: Probe) -> dict[str, np.ndarray]:
    """Returns the probe's features of the original values; leaves the present ones in place."""
    present = transplant.values(recipient.model)
    restore(recipient)
    try:
        probe.sweep.rebase()
        return probe.all()
    finally:
        transplant.undo(present, recipient.model)


def _channel_spread(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns each output channel's standard deviation for the layers that have a bias."""
    layers = [layer for layer in model.layers if getattr(layer, "use_bias", False)]
    if not layers:
        return {}
    # by name: a model with a list of one output returns that output
    view = keras.Model(model.input, {layer.name: layer.output for layer in layers})
    return {
        name: np.maximum(np.std(np.asarray(output, np.float32), axis=(0, 1, 2)), 1e-12)
        for name, output in view(images).items()
    }


def _scales(
    model: keras.Model, variables: Sequence[plan_module.Variable]
) -> list[Scale]:
    """Lists the batch normalizations, each with the bias of the convolution before it.

    That bias shifts the input of the normalization, whose moving mean subtracts it again.
    """
    paths = {(v.layer, v.role): v.path for v in variables}
    feeds = transplant.edges(model)
    scales = []
    for layer in recalibration.normalizations(model):
        before = feeds.get(layer.name, ())
        bias = paths.get((before[0], "bias")) if len(before) == 1 else None
        gamma, beta = (paths.get((layer.name, role)) for role in ("gamma", "beta"))
        mean, variance = (paths[layer.name, r] for r in roles.GROUPS["stats"])
        scales.append(
            Scale(layer.name, layer.epsilon, gamma, beta, mean, variance, bias)
        )
    return scales
