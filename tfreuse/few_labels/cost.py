"""The cost of a training step by a recipe."""

import keras

from tfreuse import models, roles, transplant
from tfreuse.few_labels import freezing
from tfreuse.few_labels.recipes import Recipe

_SIDE = 192  # pixels where the model's sides are free: a multiple of every total stride


def step_cost(recipe: Recipe, model: keras.Model) -> float:
    """Returns the cost of a training step, as a share of a step that trains everything.

    Counts multiplications: every layer computes its output; gradients flow back to the first
    trained layer and no further, and gradients of weights are computed for trained layers
    only. 0.0: nothing is trained. Time is not measured, memory traffic not counted.
    """
    copied_roles = roles.expand(recipe.groups) if recipe.groups else ()
    copied_layers = freezing.layer_paths(model, recipe.takes)
    copied = {
        variable.path
        for variable in transplant.index(model)
        if variable.layer_path in copied_layers and variable.role in copied_roles
    }
    trained = {id(v) for v in freezing.trained_variables(model, recipe.trains, copied)}
    if not trained:
        return 0.0
    size = tuple(side or _SIDE for side in model.input.shape[1:3])
    work = models.multiplications(model, size)
    forward = sum(work.values())
    backward, has_gradient = 0.0, False
    for layer in model.layers:  # from input to output
        if has_gradient:  # of the loss by the layer's input
            backward += work.get(layer.name, 0.0)
        if any(id(v) in trained for v in layer.weights if len(v.shape) > 1):
            backward += work.get(layer.name, 0.0)
        has_gradient |= any(id(variable) in trained for variable in layer.weights)
    first = next((layer.name for layer in model.layers if layer.weights), "")
    full = 3 * forward - work.get(first, 0.0)  # the image needs no gradient
    return (forward + backward) / full
