"""Finds at the start of a study the errors that would stop it after hours of training.

    checks.check(specs)  # raises InputError

Networks of the user's own, and with another library's encoder, must take the images, keep their
size and be exportable; every recipe must fit them; and there must be as many labelled images as
the label curves ask for.
"""

import concurrent.futures
import multiprocessing
import sys

import numpy as np

from tfreuse import runtime
from tfreuse.errors import InputError
from tfreuse.few_labels import recipes
from tfreuse.specs import DataSpec, ModelSpec
from tfreuse.study.design import Block, Curve, Specs


def check(specs: Specs) -> None:
    """Checks the study's networks and label curves; builds networks and trains none.

    In a process of its own, unless TensorFlow is loaded already: it would hold a part of the
    GPU's memory as long as the driver runs.

    Raises:
        InputError: the study would fail; the message names the flag.
    """
    blocks, curves = specs.blocks(), specs.curves()
    if not curves and not any(block.model.is_foreign for block in blocks):
        return  # a training checks its own network at its start
    if "tensorflow" in sys.modules:
        return check_here(specs)
    spawned = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawned, runtime.start) as process:
        process.submit(check_here, specs).result()


def check_here(specs: Specs) -> None:
    """Checks as `check`, in this process."""
    from tfreuse import models

    if specs.given:
        from tfreuse.study import reading

        return reading.check(specs)
    blocks, curves = specs.blocks(), specs.curves()
    for network in dict.fromkeys(part.model for part in (*blocks, *curves)):
        models.check_image_size(network, specs.data.image_size, specs.data.channels)
    # The last unit of work exports the recipient of the first block.
    if blocks and blocks[0].model.is_foreign:
        _check_export(blocks[0])
    if curves:
        _check_curves(specs, curves)


def _check_export(block: Block) -> None:
    from tfreuse import export

    task = block.parts["recipient"].train.task
    export.examined(_build(block.model, task, block.specs.data), task)


def _check_curves(specs: Specs, curves: list[Curve]) -> None:
    from tfreuse import data
    from tfreuse.study import labels

    split = data.load(specs.data, "train")
    no_images = np.zeros((0, *specs.data.image_size, specs.data.channels), np.float32)
    groups = data.group_names(split, specs.data.group_by)
    labels.labelled_subsets(split, groups, curves[0])
    for text, donor in curves[0].donors.items():
        if donor.train_examples >= split.size:
            raise InputError(
                f"--label_donors={text}: the training split has {split.size} images; give fewer, "
                "or leave train_examples out."
            )
    for curve in {curve.model: curve for curve in curves}.values():
        if curve.model.is_foreign:
            fitter = labels.make_fitter(curve, split.num_classes, no_images)
            fitter.donor = _build(curve.model, "autoencoder", specs.data)
            _check_recipes(fitter, specs.labels.recipes)


def _check_recipes(fitter, names: tuple[str, ...]) -> None:
    """Raises InputError if a recipe does not fit the fitter's donor and network."""
    for name in names:
        try:
            fitter.plan(recipes.CATALOGUE[name])
        except InputError as error:
            raise InputError(f"--recipes: {name}: {error}") from None


def _build(network: ModelSpec, task: str, spec: DataSpec):
    from tfreuse import models

    return models.build(
        network, task=task, num_classes=2, channels=spec.channels, seed=0
    )
