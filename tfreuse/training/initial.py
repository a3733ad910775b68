"""Gives a network the values of another one before its training (`--initial_model`)."""

import glob
import pathlib

import keras

from tfreuse import models, transplant
from tfreuse.errors import InputError
from tfreuse.models import custom, graph, saving
from tfreuse.specs import TrainSpec


def path_of(spec: TrainSpec, out_dir: pathlib.Path) -> pathlib.Path:
    """Returns the path of `spec.initial_model`.

    Looks relative to the run first, so that a study's directory can be moved.
    """
    for path in (out_dir / spec.initial_model, pathlib.Path(spec.initial_model)):
        if path.is_file():
            return path
    raise InputError(
        f"--initial_model={spec.initial_model} is found neither from --out_dir={out_dir} "
        "nor from the working directory."
    )


def take_values(path: pathlib.Path, model: keras.Model) -> None:
    """Copies the file's values into all layers of the model but the heads, all or nothing."""
    donor = saving.load(path)
    names = {*models.stages(donor), *models.stages(model)}
    plan = transplant.plan(
        donor,
        model,
        stages=[f"!{stage}" for stage in ("head", "auxiliary") if stage in names],
        layers=["*", *(f"!{glob.escape(layer)}" for layer in _replaced(donor, model))],
    )
    if plan.problems:
        first = plan.problems[0]
        raise InputError(
            f"--initial_model={path} does not fit the network: {len(plan.problems)} "
            f"variables differ, the first is {first.variable} ({first.reason}). All options "
            "of the network must be as they were when it was trained."
        )
    transplant.apply(plan, donor, model)


def _replaced(donor: keras.Model, model: keras.Model) -> list[str]:
    """Returns the path of the donor's head if `models.custom` replaced it in the model.

    It does so with the last layer, whatever its name; the model has "head_<task>_conv" for it.
    """
    head = graph.last_layer(donor)
    names = {layer.name for layer in model.layers}
    if not isinstance(head, custom.HEADS) or head.name in names:
        return []
    variables = transplant.variables(donor)
    weights = {id(weight) for weight in head.weights}
    paths = (
        v.layer_path
        for v in transplant.index(donor)
        if id(variables[v.path]) in weights
    )
    return list(dict.fromkeys(paths))
