"""Selects the variables that are trained, and batch norms that use stored statistics.

    variables = freezing.trained_variables(model, "affine")
    view = freezing.with_stored_statistics(model, ["encoder_1_a_bn"])  # ignores the batch
    with freezing.training_only(model, variables):
        graph = training.trainable(view, optimizer, task, ignore_label)

The trap: in Keras `layer.trainable = False` on a batch normalization does two things. It
freezes gamma and beta, and it switches the layer to inference: stored statistics, which no
longer move. `variable.trainable = False` does only the first: the layer goes on normalizing
with its batch and moving its averages, though none of its variables is trained. Here the two
are separate: `training_only` decides which variables an optimizer changes,
`with_stored_statistics` which statistics a layer computes with, and `layer.trainable` is never
touched. (It could not serve: no gamma can be trained in a layer that is not trainable.)
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence

import keras

from tfreuse import models, transplant
from tfreuse import plan as plan_module
from tfreuse.errors import InputError, nearest, printable
from tfreuse.few_labels.recipes import Recipe
from tfreuse.models import graph
from tfreuse.training import views

_HEADS = ("head", "auxiliary")
_DECODERS = ("decoder_", "pyramid", "fusion")


def stages(model: keras.Model) -> dict[str, list[str]]:
    """Returns stages from input to output with the names of their layers, without heads."""
    return {
        stage: names
        for stage, names in models.stages(model).items()
        if stage not in _HEADS
    }


def stage_names(model: keras.Model, selection: str) -> list[str]:
    """Returns the stages of a recipe's `takes`, or of "stage:NAME" in its `trains`.

    Raises:
        InputError: the model has no such stage, or fewer stages than the prefix.
    """
    names = list(stages(model))
    kind, _, argument = selection.partition(":")
    if kind == "none":
        return []
    if kind == "all":
        return names
    if kind == "encoder":
        return _encoder(model)
    if kind == "prefix":
        if int(argument) > len(names):
            raise InputError(
                f"{selection} takes more stages than the network's {len(names)}: {names}."
            )
        return names[: int(argument)]
    if argument in ("first", "last"):
        return [names[0 if argument == "first" else -1]]
    if argument not in names:
        raise InputError(
            f"the network has no stage {printable(argument)!r}; nearest: "
            f"{nearest(argument, names)}."
        )
    return [argument]


def _encoder(model: keras.Model) -> list[str]:
    """Returns the stages before the decoder: by their names, else up to the smallest features."""
    names = stages(model)
    if any(name.startswith(_DECODERS) for name in names):
        return [name for name in names if not name.startswith(_DECODERS)]
    by_size = graph.by_size(model)
    return [
        name
        for name, layers in names.items()
        if all(by_size[layer].startswith("encoder_") for layer in layers)
    ]


def layer_paths(model: keras.Model, selection: str) -> list[str]:
    """Returns the paths of the layers with variables that a recipe's `takes` selects.

    Raises:
        InputError: see `stage_names`.
    """
    layers = stages(model)
    selected = {
        layer for stage in stage_names(model, selection) for layer in layers[stage]
    }
    paths = (variable.layer_path for variable in transplant.index(model))
    return list(dict.fromkeys(path for path in paths if _outer(path) in selected))


def _outer(path: str) -> str:
    """Returns the layer of the model itself: "block" of the path "block/conv"."""
    return path.partition("/")[0]


def trained_variables(
    model: keras.Model, trains: str, copied: Collection[str] = ()
) -> list[keras.Variable]:
    """Returns the variables that a recipe's `trains` selects.

    Args:
        model: the recipient.
        trains: see `recipes.Recipe`.
        copied: paths of the variables that the donor gave, for "decoder".
    """
    by_path = transplant.variables(model)
    body = {layer for names in stages(model).values() for layer in names}
    if trains.startswith("stage:"):
        (stage,) = stage_names(model, trains)
        stage_layers = set(stages(model)[stage])

    def is_selected(variable) -> bool:
        if trains == "nothing":
            return False
        layer = _outer(variable.path)
        if layer not in body or trains == "all":  # not in the body: a head
            return True
        if trains == "head":
            return False
        if trains == "affine":
            return variable.role in ("gamma", "beta")
        if trains == "decoder":
            return variable.path not in copied
        return layer in stage_layers

    return [
        by_path[variable.path]
        for variable in transplant.index(model)
        if by_path[variable.path].trainable and is_selected(variable)
    ]


@contextlib.contextmanager
def training_only(
    model: keras.Model, variables: Sequence[keras.Variable]
) -> Iterator[None]:
    """Restricts the model's trainable variables to these inside the block.

    Keras reads `trainable` when it traces a training step: trace inside the block.

    Raises:
        InputError: a variable is in a layer whose `trainable` is False, so that Keras would
            leave it out in silence.
    """
    before = [(variable, variable.trainable) for variable in model.variables]
    selected = {id(variable) for variable in variables}
    try:
        for variable, trainable in before:
            variable.trainable = trainable and id(variable) in selected
        effective = {id(variable) for variable in model.trainable_variables}
        lost = [v.path for v in variables if id(v) not in effective]
        if lost:
            raise InputError(
                f"{len(lost)} variables should be trained and are in layers with "
                f"trainable=False, the first is {printable(lost[0])!r}. Set the layers' "
                "trainable to True; the recipe decides which variables are frozen."
            )
        yield
    finally:
        for variable, trainable in before:
            variable.trainable = trainable


def with_stored_statistics(model: keras.Model, layers: Collection[str]) -> keras.Model:
    """Returns a view whose batch norms of these names use stored statistics in training too.

    The statistics do not move; gamma and beta can still be trained. The view shares layers and
    variables with the model. `training.trainable` fuses only the other batch norms of the
    view, and `training.recalibration.Recalibrator` re-estimates only those.
    """
    if not layers:
        return model
    names = set(layers)

    def call(layer, *args, **kwargs):
        if layer.name in names and isinstance(layer, keras.layers.BatchNormalization):
            return _AtInference(layer)(*args)
        return layer(*args, **kwargs)

    return views.view(model, call)


def check_statistics(recipe: Recipe, copied: Iterable[plan_module.Variable]) -> None:
    """Checks that views reach the moving statistics that a recipe fixes.

    Raises:
        InputError: one is inside a layer that is no graph of layers.
    """
    if recipe.statistics == "moving" or recipe.trains == "all":
        return
    for variable in copied:
        if variable.role == "moving_mean" and "/" in variable.layer_path:
            raise InputError(
                f"recipe {recipe.name} fixes moving statistics, and "
                f"{printable(variable.layer_path)} is inside a layer of a class of its own. Make "
                "the network of Keras's own layers, or of networks of them."
            )


class _AtInference(keras.layers.Layer):
    """Applies a batch normalization in inference mode, always."""

    uses_stored_statistics = True  # for `training.recalibration`

    def __init__(self, layer: keras.layers.BatchNormalization) -> None:
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs, training=False)
