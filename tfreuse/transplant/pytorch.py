"""Checks arrays to or from PyTorch files whose shapes fit and whose meaning may not, or the reverse.

Properties that a plan can only name are in `tfreuse.transplant.same_function`.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from tfreuse.errors import InputError, printable
from tfreuse.plan import (
    COPY,
    KEEP,
    MISSING,
    REFUSED,
    UNUSED,
    Entry,
    Variable,
    structure,
    topology,
)
from tfreuse.plan.adapters import FILLED
from tfreuse.plan.calls import Call
from tfreuse.plan.variables import Layer
from tfreuse.transplant.opening import OpenModel

_JOINED, _UNKNOWN = 0, -1  # in place of the number of an image's channels
_NEUTRAL = {"gamma": 1, "beta": 0, "bias": 0}  # values that change nothing


def without_neutral(entries: Iterable[Entry], donor: OpenModel) -> tuple[Entry, ...]:
    """Keeps arrays out of the problems that need no counterpart.

    They are the statistics of images in a Normalization layer, which PyTorch's networks lack, and
    the donor's factors of 1 and offsets of 0 for a recipient's layer that has none.

    Args:
        entries: of a plan between a PyTorch file and a Keras model.
        donor: the model to read these arrays from.
    """
    paired = {entry.donor.layer_path for entry in entries if entry.status == COPY}
    checked = []
    for entry in entries:
        variable = entry.variable
        if entry.status in (MISSING, UNUSED) and variable.class_name == "Normalization":
            reason = "a PyTorch file has no statistics of images"
            entry = dataclasses.replace(entry, status=KEEP, reason=reason)
        if entry.status == UNUSED and variable.layer_path in paired:
            neutral = _NEUTRAL.get(variable.role)
            if neutral is None:
                reason = entry.reason
            elif (donor.read(variable) == neutral).all():
                reason = f"all {neutral}, as if the donor had no {variable.role}"
                entry = dataclasses.replace(entry, status=KEEP)
            else:
                reason = f"the recipient's layer has no {variable.role}"
                if variable.role == "bias":
                    flag = "use_bias" if donor.pytorch else "bias"
                    reason += f"; build it with {flag}=True"
            entry = dataclasses.replace(entry, reason=reason)
        checked.append(entry)
    return tuple(checked)


def with_places(
    entries: Sequence[Entry],
    donor_layers: Mapping[str, Layer],
    recipient_layers: Mapping[str, Layer],
) -> tuple[Entry, ...]:
    """Says of the first layer without a counterpart the donor's layer in its place.

    The shapes of the two show a network of another family or width.
    """
    checked = list(entries)
    missing = (
        number
        for number, entry in enumerate(entries)
        if entry.status == MISSING
        and structure.shape_of(recipient_layers[entry.recipient.layer_path])
    )
    free = (
        entry.donor
        for entry in entries
        if entry.status == UNUSED
        and structure.shape_of(donor_layers[entry.donor.layer_path])
    )
    number, source = next(missing, None), next(free, None)
    if number is not None and source is not None:
        entry = entries[number]
        reason = (
            f"{entry.reason}; its shape is {list(entry.recipient.shape)}, and the donor's first "
            f"layer without a counterpart, {printable(source.layer_path)}, has "
            f"{list(source.shape)}"
        )
        checked[number] = dataclasses.replace(entry, reason=reason)
    return tuple(checked)


def without_scrambled_rows(
    entries: Iterable[Entry], layers: Mapping[str, Layer], keras: OpenModel, back: bool
) -> tuple[Entry, ...]:
    """Refuses arrays whose rows would be in another order than the recipient's features.

    A flattened image has its channels first in PyTorch and last in Keras, which matters to Dense
    kernels and to normalizations of its features. Where the Keras model does not show the input
    of a layer, an adapter must say it.

    Args:
        entries: of a plan between a PyTorch file and a Keras model.
        layers: the Keras model's, by path.
        keras: the model that has them.
        back: whether the PyTorch file is the recipient.
    """
    images = _flattened(layers, keras)
    checked = []
    for entry in entries:
        if entry.status == COPY and not filled(entry):
            channels = images.get(_keras_variable(entry, back).layer_path)
            reason = "" if channels is None else _scrambled(entry, channels)
            if reason:
                entry = dataclasses.replace(entry, status=REFUSED, reason=reason)
        checked.append(entry)
    return tuple(checked)


def _keras_variable(entry: Entry, back: bool) -> Variable:
    return entry.donor if back else entry.recipient


def filled(entry: Entry) -> bool:
    """Returns whether an adapter fills the array in, whatever the donor has."""
    return not {*entry.adapters}.isdisjoint(FILLED.values())


def _scrambled(entry: Entry, channels: frozenset[int]) -> str:
    """Returns why the rows of an array would be in a wrong order; "" if they would not."""
    if entry.recipient.role == "bias":
        return ""
    adapters = [name for name in entry.adapters if name.startswith("flatten:")]
    if adapters == ["flatten:1"]:  # by which a user says that both orders are the same
        return ""
    if not channels:
        return (
            f"it reads no flattened image; leave {adapters[0]} out" if adapters else ""
        )
    path = entry.recipient.layer_path
    if _UNKNOWN in channels:
        return (
            ""
            if adapters
            else (
                "the Keras model does not show whether its rows are a flattened image, which PyTorch "
                f"has in another order; --adapters='{path}=flatten:C' turns those of C channels, "
                "and flatten:1 leaves them"
            )
        )
    if _JOINED in channels or len(channels) > 1:
        return "its rows are a flattened image beside others, which no adapter turns"
    (count,) = channels
    if adapters == [f"flatten:{count}"]:
        return ""
    return (
        f"its rows are a flattened image of {count} channels, which PyTorch has in another "
        f"order; --adapters='{path}=flatten:{count}' turns them, and "
        "flatten:1 leaves them"
    )


def _flattened(
    layers: Mapping[str, Layer], keras: OpenModel
) -> dict[str, frozenset[int]]:
    """Returns the channels of the flattened images that layers read, where that is known."""
    try:
        calls, _ = keras.calls()
    except InputError:
        calls = []
    reads = topology.contract(keras.edges or {}, layers)
    images = {path: _sides(layer) for path, layer in layers.items()}
    features = set().union(*images.values())
    by_shapes = {
        path: _by_shapes(path, layers, reads, features)
        for path, layer in layers.items()
        if _rows(layer)
    }
    return by_shapes | _by_calls(calls, layers)


def _rows(layer: Layer) -> Variable | None:
    """Returns an array with a number or a row for each feature that the layer reads.

    Of layers that read images by their class or rank: None.
    """
    kernel = layer.by_role.get(("kernel", 0))
    if kernel:
        return kernel if len(kernel.shape) == 2 else None
    shape = structure.shape_of(layer)
    array = layer.variables[0]
    if shape is None or len(array.shape) > 1 or layer.settings.get("rank", 2) > 2:
        return None
    return array


def _sides(layer: Layer) -> set[int]:
    """Returns how many channels the images have that a convolution reads and makes."""
    kernel = layer.by_role.get(("kernel", 0))
    shape = structure.shape_of(layer)
    return {*shape[1][-2:]} if kernel and shape and len(kernel.shape) > 2 else set()


def _by_calls(
    calls: Iterable[Call], layers: Mapping[str, Layer]
) -> dict[str, frozenset[int]]:
    """Returns channels as `_flattened`, by shapes in the graph; layers without shapes are left out.

    Features [B, N] of a flattened image stay such until a kernel mixes them.
    """
    mixes = {
        path
        for path, layer in layers.items()
        if any(variable.role == "kernel" for variable in layer.variables)
    }
    ranks: dict[str, int] = {}
    channels: dict[str, int | None] = {}
    images: dict[str, frozenset[int] | None] = {}  # of the features that a call makes
    read: dict[str, frozenset[int] | None] = {}  # by path of the layer that reads them
    for call in calls:
        ranks[call.name], channels[call.name] = call.rank, call.channels
        sources = [images[name] for name in call.reads]
        before = None if None in sources else frozenset().union(*sources)
        read[call.path] = before
        if call.path in mixes or call.rank > 2:
            images[call.name] = frozenset()
            continue
        grown = {
            channels[name]
            for name in call.reads
            if ranks[name] > 2 and channels[name] not in (1, call.channels)
        }
        ranked = call.rank and all(ranks[name] for name in call.reads)
        if not ranked or before is None or None in grown or call.channels is None:
            images[call.name] = None
        else:
            images[call.name] = before | grown
            if images[call.name] and call.class_name == "Concatenate":
                images[call.name] |= {_JOINED}
    return {path: images for path, images in read.items() if images is not None}


def _by_shapes(
    path: str, layers: Mapping[str, Layer], reads, features: set[int]
) -> frozenset[int]:
    """As `_flattened`, for a layer in a model without a graph, or without shapes in it.

    Args:
        features: channels of all images in the model. A normalization of as many is one of an
            image, unless its input's rank says otherwise.
    """
    layer = layers[path]
    rows = _rows(layer).shape[0]
    widths = [
        _width(layers[source]) for source in reads.get(path, ()) if source in layers
    ]
    norm = ("kernel", 0) not in layer.by_role
    if not widths or None in widths:
        of_image = norm and rows in features and "rank" not in layer.settings
        return frozenset() if of_image else frozenset({_UNKNOWN})
    if set(widths) == {rows} or (norm and sum(widths) == rows):
        return frozenset()
    divides = len(widths) == 1 and rows % widths[0] == 0
    return frozenset(widths if divides else {_UNKNOWN})


def _width(layer: Layer) -> int | None:
    """Returns the channels of a layer's output, None if its arrays do not show it."""
    shape = structure.shape_of(layer)
    axis = -2 if "Transpose" in layer.class_name else -1
    return shape[1][axis] if shape else None
