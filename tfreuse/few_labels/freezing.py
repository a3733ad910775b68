"""What is trained, variable by variable; and which batch norms compute with stored statistics.

    held = freezing.chosen(model, "affine", taken)      # the variables that "affine" trains
    view = freezing.holding(model, ["encoder_1_a_bn"])   # these never look at the batch
    with freezing.only(model, held):
        graph = training.trainable(view, optimizer, task, ignore_label)

The trap: in Keras `layer.trainable = False` on a batch normalization does two things. It
freezes gamma and beta, and it switches the layer to inference: stored statistics, which no
longer move. `variable.trainable = False` does the first alone: the layer goes on normalising
with its batch and moving its averages, though none of its variables is trained. Here the two
are told apart: `only` decides what an optimizer changes, `holding` which statistics a layer
computes with, and `layer.trainable` is never touched. (It could not do it: no gamma trains
under a layer that is not trainable.)
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence

import keras

from tfreuse import models, transplant
from tfreuse.errors import InputError, nearest, printable

_HEADS = ("head", "auxiliary")
_DECODERS = ("decoder_", "pyramid", "fusion")


def stages(model: keras.Model) -> dict[str, list[str]]:
    """Stages from input to output with the names of their layers, heads left out."""
    found = models.stages(model)
    return {stage: names for stage, names in found.items() if stage not in _HEADS}


def selected(model: keras.Model, takes: str) -> list[str]:
    """The stages that a recipe's `takes`, or the "stage:NAME" of its `trains`, names.

    Raises:
        InputError: the model has no such stage, or fewer stages than the prefix.
    """
    names = list(stages(model))
    kind, _, rest = takes.partition(":")
    if kind == "none":
        return []
    if kind == "all":
        return names
    if kind == "encoder":
        return [name for name in names if not name.startswith(_DECODERS)]
    if kind == "prefix":
        if int(rest) > len(names):
            raise InputError(
                f"{takes} takes more stages than the network's {len(names)}: {names}."
            )
        return names[: int(rest)]
    if rest in ("first", "last"):
        return [names[0 if rest == "first" else -1]]
    if rest not in names:
        raise InputError(
            f"the network has no stage {printable(rest)!r}; nearest: {nearest(rest, names)}."
        )
    return [rest]


def chosen(
    model: keras.Model, trains: str, taken: Collection[str] = ()
) -> list[keras.Variable]:
    """The variables that a recipe's `trains` means.

    Args:
        model: the recipient.
        trains: see `recipes.Recipe`.
        taken: paths of the variables that were taken, for "decoder".
    """
    held = transplant.variables(model)
    body = {layer for names in stages(model).values() for layer in names}
    if trains.startswith("stage:"):
        (stage,) = selected(model, trains)
        own = set(stages(model)[stage])

    def meant(variable) -> bool:
        if trains == "nothing":
            return False
        if variable.layer not in body or trains == "all":
            return True
        if trains == "head":
            return False
        if trains == "affine":
            return variable.role in ("gamma", "beta")
        if trains == "decoder":
            return variable.path not in taken
        return variable.layer in own

    return [
        held[variable.path]
        for variable in transplant.index(model)
        if held[variable.path].trainable and meant(variable)
    ]


@contextlib.contextmanager
def only(model: keras.Model, variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Inside, the model's trainable variables are these; afterwards those of before.

    Keras reads what is trainable when it traces a training step: trace inside.

    Raises:
        InputError: a variable is in a layer whose `trainable` is False, so that Keras would
            leave it out in silence.
    """
    before = [(variable, variable.trainable) for variable in model.variables]
    wanted = {id(variable) for variable in variables}
    try:
        for variable, trainable in before:
            variable.trainable = trainable and id(variable) in wanted
        found = {id(variable) for variable in model.trainable_variables}
        lost = [v.path for v in variables if id(v) not in found]
        if lost:
            raise InputError(
                f"{len(lost)} variables should be trained and are in layers with "
                f"trainable=False, the first is {printable(lost[0])!r}. Set the layers' "
                "trainable to True; a recipe says itself what it freezes."
            )
        yield
    finally:
        for variable, trainable in before:
            variable.trainable = trainable


def holding(model: keras.Model, layers: Collection[str]) -> keras.Model:
    """A view of the model whose batch norms of these names compute with stored statistics.

    In training too, and without moving them; their gamma and beta can still be trained. The
    layers and variables are the model's own. `training.trainable` fuses the other batch norms
    of the view, and `training.recalibration.Recalibrator` re-estimates those alone.
    """
    if not layers:
        return model
    names = set(layers)

    def call(layer, *args, **kwargs):
        if layer.name in names and isinstance(layer, keras.layers.BatchNormalization):
            return _Held(layer)(*args)
        return layer(*args, **kwargs)

    return keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )


class _Held(keras.layers.Layer):
    """A batch normalization that is always at inference."""

    def __init__(self, layer: keras.layers.BatchNormalization) -> None:
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs, training=False)
