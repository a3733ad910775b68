"""A block's recipient in memory: the network, its images, its donors and its original values.

recipient = load(block, models_dir)
take(recipient, ("kernel", "stats"))  # from the treatment's donor, at all layers
recipient.recalibrate()
recipient.evaluate().value
restore(recipient)                    # bit for bit as loaded
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from tfreuse import data, files, models, training, transplant
from tfreuse import plan as plan_module
from tfreuse.models import saving
from tfreuse.runners import Cache
from tfreuse.specs import TrainSpec
from tfreuse.study import reading, treatments
from tfreuse.study.design import Block, Network, Specs
from tfreuse.study.donors import Donors, as_pair, first_images
from tfreuse.training import evaluation, folding, recalibration

FITTED_IMAGES = (
    64  # calibration images that an auto-encoder's gains and offsets are fitted on
)


@dataclasses.dataclass(frozen=True)
class Recipient:
    """A recipient in memory and all that is needed to change, measure and restore it.

    Attributes:
        block: the study's block of arms that it belongs to.
        digest: SHA-256 of its model file.
        model: the network; transplants change its values in place.
        variables: its parameters, in the order of its layers.
        values: its original values by variable path, moving statistics re-estimated.
        train, test: the splits of its data set.
        images: calibration images float32 [N, H, W, C], corrupted as in its training.
        targets: images of the same shape that an auto-encoder's outputs are compared with.
        recalibrate: re-estimates the model's moving statistics on `images`.
        evaluate: measures the model on the test split.
        before: counts of the evaluation with the original values.
        donors: the networks and controls whose values it can receive.
        cache: functions that were traced for the model; recipients of the same structure that are
            loaded one after another share the model and this cache.
    """

    block: Block
    digest: str
    model: keras.Model
    variables: Sequence[plan_module.Variable]
    values: transplant.Values
    train: data.Split
    test: data.Split
    images: np.ndarray
    targets: np.ndarray
    recalibrate: recalibration.Recalibrator
    evaluate: evaluation.Evaluator
    before: evaluation.Counts
    donors: Donors
    cache: Cache = dataclasses.field(default_factory=Cache)

    @property
    def train_spec(self) -> TrainSpec:
        return self.block.parts["recipient"].train


class _Setup:
    """A model with its data and traced functions, for all recipients of its structure."""

    def __init__(self, block: Block, model: keras.Model, cache: Cache) -> None:
        specs, network = block.specs, block.parts["recipient"]
        self.train = calibration_split(specs, network, cache)
        self.test = training.split(specs.data, "test", network.train, cache)
        self.clean = first_images(self.train, specs.study.calibration_examples)
        self.images, self.targets = as_pair(self.clean, network.train.corruption)
        if network.file:
            self.model = reading.staged(model, specs)
        else:
            self.model = models.with_stages(model, block.model.stages)
        self.variables = transplant.index(self.model)
        self.recalibrate = recalibration.Recalibrator(self.model, self.images)
        self.evaluate = evaluator(
            self.model, block, self.test, self.images, self.targets
        )
        self.cache = Cache()


def load(
    block: Block, models_dir: pathlib.Path, cache: Cache | None = None
) -> Recipient:
    """Reads the block's recipient and its data, and measures it as it is.

    The moving statistics of a network that the study trained are first set to the exact ones of the
    calibration images. The moving averages of training lag behind the last weights; recalibration after a transplant would
    otherwise repair that lag too and be credited for it.

    Args:
        block: the study's block of arms.
        models_dir: the study's trained networks, a folder each.
        cache: where a recipient of the same structure was loaded before, it is loaded into the
            same model, whose functions are traced already; the earlier one is then gone.
    """
    network, cache = block.parts["recipient"], cache or Cache()
    path = models_dir / network.name / "model.keras"
    key = (block.specs.digest, block.model, training.seedless(network.train))
    if network.file:
        key += (network.name,)
    setup = saving.load_shared(
        cache, "recipient", key, path, lambda model: _Setup(block, model, cache), most=1
    )
    model, digest = setup.model, files.file_digest(path)
    if not network.file:  # a network that exists is measured as it is
        if setup.recalibrate.sweep is not None:
            setup.recalibrate.sweep.rebase()
        setup.recalibrate()
    setup.evaluate.sweep.rebase()
    before, values = setup.evaluate(), transplant.values(model)
    return Recipient(
        block=block,
        digest=digest,
        model=model,
        variables=setup.variables,
        values=values,
        train=setup.train,
        test=setup.test,
        images=setup.images,
        targets=setup.targets,
        recalibrate=setup.recalibrate,
        evaluate=setup.evaluate,
        before=before,
        donors=Donors(
            block, models_dir, model, setup.variables, values, digest, setup.clean,
            setup.train, cache,
        ),
        cache=setup.cache,
    )  # fmt: skip


def calibration_split(
    specs: Specs, network: Network, cache: Cache | None = None
) -> data.Split:
    """Reads the training split; networks that exist need its masks for fine-tuning alone."""
    if network.file and "fine_tuning" not in specs.study.repairs:
        return data.load(specs.data, "train", masks=False)
    return training.split(specs.data, "train", network.train, cache)


def evaluator(
    model: keras.Model,
    block: Block,
    test: data.Split,
    images: np.ndarray,
    targets: np.ndarray,
) -> evaluation.Evaluator:
    """Builds the evaluation of the block's recipient, or of a view of it, on the test split.

    An auto-encoder's output is linear and unbounded: after a transplant an output of the wrong
    size or level has an R2 of -50 whatever it shows. So a gain and an offset of each channel are
    fitted on calibration images (`images` and `targets`) first.
    """
    train = block.parts["recipient"].train
    fits = train.task == "autoencoder" and block.specs.study.fit_outputs
    fit = (images[:FITTED_IMAGES], targets[:FITTED_IMAGES]) if fits else None
    if block.specs.study.fold_batch_norm:
        model = folding.folded(model)
    return evaluation.Evaluator(
        model, test, train.task, corruption=train.corruption, fit=fit, sweeping=True
    )


def take(recipient: Recipient, groups: Sequence[str]) -> None:
    """Moves the groups of all layers from the treatment's donor into the recipient."""
    donor = recipient.donors.get("transfer")
    (everywhere,) = treatments.sites(recipient.model, ("all",))
    plan = plan_module.make(
        donor.variables, recipient.variables, roles=groups, layers=everywhere.layers
    )
    transplant.apply(plan, donor.values, recipient.model)


def restore(recipient: Recipient) -> None:
    """Writes all original values back into the recipient's model, bit for bit."""
    transplant.undo(recipient.values, recipient.model)
