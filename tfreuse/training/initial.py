"""Gives a network values before its training: `--initial_model` and `--encoder_weights`.

model = initial.network(spec, task="segmentation", num_classes=5, seed=0)
"""

import fnmatch
import glob
import pathlib
from typing import Any

import keras

from tfreuse import models, transplant
from tfreuse.errors import InputError, printable
from tfreuse.models import custom, graph, saving
from tfreuse.plan import Plan
from tfreuse.specs import ModelSpec, TrainSpec

_EPSILON = 1e-5  # of torch.nn.BatchNorm2d
# Layers behind an encoder of another library: all that tfreuse adds to it.
_ADDED = "decoder_*", "pyramid_*", "fusion_*", "head_*", "auxiliary_*"


def network(spec: ModelSpec, **options: Any) -> keras.Model:
    """Builds the network with fresh values, but for `spec.encoder_weights` in its encoder.

    Args:
        spec: which network.
        options: of `models.build`.

    Raises:
        InputError: it cannot be built, or the weights do not fit all of the encoder.
    """
    model = models.build(spec, **options)
    if spec.encoder_weights:
        take_encoder(spec, model)
    return model


def take_encoder(spec: ModelSpec, model: keras.Model) -> Plan:
    """Copies `spec.encoder_weights` into all layers of the encoder, all or nothing.

    Weights for which the network has no place, those of a classifier, stay behind. A convolution's
    bias that a PyTorch network lacks becomes 0, which its batch normalization subtracts anyway, and
    PyTorch's default epsilon, 1e-5, is folded into the variances of encoders that take images as
    torchvision's do. The encoder then computes the donor's function where strides and paddings are
    equal too, which `tools/transplant.py plan` compares.
    """
    path = spec.encoder_weights
    names = [layer.name for layer in model.layers if layer.weights]
    added = [p for p in _ADDED if fnmatch.filter(names, p)]
    with transplant.opened(path, model) as pair:
        options: dict[str, Any] = {
            "layers": ["*", *(f"!{pattern}" for pattern in added)],
            "allow_unused": "*",
        }
        plan = pair.plan(**options)
        if spec.pytorch_weights:
            plan = pair.filled(plan, *_epsilon(spec, plan))
        if plan.problems:
            first = plan.problems[0]
            raise InputError(
                f"--encoder_weights={printable(spec.encoder_weights)} does not fit "
                f"--encoder={spec.encoder}: {len(plan.problems)} variables have no values, the "
                f"first is {first.variable} ({first.reason}). `tools/transplant.py plan --donor=... "
                "--recipient=...` shows all; a network with other weights in it can be given as "
                "--initial_model."
            )
        pair.apply(plan)
    return plan


def description(spec: ModelSpec, plan: Plan) -> str:
    """Returns in Markdown the values that the encoder took, and the notes of their plan."""
    layers = {e.recipient.layer for e in plan.copies}
    title = (
        f"{len(plan.copies)} variables of {len(layers)} layers of {spec.encoder} from "
        f"`{printable(spec.encoder_weights)}`; --encoder_input={spec.convention}"
    )
    return "\n".join(
        [title, "", *(f"- {printable(note, 1000)}" for note in plan.notes)]
    )


def _epsilon(spec: ModelSpec, plan: Plan) -> list[str]:
    """Returns the adapter that folds PyTorch's epsilon into the variances, if it differs."""
    epsilons = {dict(e.recipient.settings).get("epsilon") for e in plan.copies}
    different = epsilons - {None, _EPSILON}
    if spec.convention == "imagenet" and different:
        return [f"*=epsilon:{_EPSILON}"]
    return []


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
