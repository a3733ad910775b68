"""Plans a transplant between two open models, each completed by the other's descriptions.

A bare weights file or an array of `.npz` knows no epsilon and no axis, and often no class. They
are taken from the layer of the same path or name in the other model, and the plan has a note on
it. Roles are never taken from there, since a gamma could become a beta. A layer that gets its class
in this way has the roles that its own names or shapes determine.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfreuse import plan as plan_module
from tfreuse.errors import InputError, printable
from tfreuse.plan import (
    Entry,
    Plan,
    branches,
    matching,
    ordering,
    remedies,
    selection,
    separable,
    structure,
    topology,
)
from tfreuse.plan.variables import Layer, Variable, by_layer
from tfreuse.transplant import (
    alignment,
    channels,
    completion,
    exported,
    pytorch,
    same_function,
)
from tfreuse.transplant.opening import OpenModel

KERAS_3 = ("keras", "keras_folder", "weights_h5", "sharded")  # have whole paths
_OPTIONS = (
    "roles",
    "layers",
    "stages",
    "depth",
    "mapping",
    "allow_missing",
    "allow_unused",
    "adapters",
)


def make(donor: OpenModel, recipient: OpenModel, **options: Any) -> Plan:
    """Plans a transplant without reading values; see `tfreuse.plan.make` for the options.

    Of `channels`, layers may be given by name, and batch normalizations follow their layer.
    """
    chosen = None
    if options.get("channels") is not None:
        chosen = channels.choose(options["channels"], recipient)
        options["channels"] = chosen.indices
    plan = _make(donor, recipient, **options)
    if chosen:
        channels.check_moved(plan, chosen.groups)
        notes = (*plan.notes, channels.note(chosen))
        plan = dataclasses.replace(plan, notes=notes)
    if not alignment.aligns(plan):
        return plan
    note = alignment.note(plan, all_pairs(plan, donor, recipient), donor)
    return dataclasses.replace(plan, notes=(*plan.notes, note))


def all_pairs(plan: Plan, donor: OpenModel, recipient: OpenModel) -> tuple[Entry, ...]:
    """Returns all pairs of variables, whatever the plan moves.

    Alignment compares all of them to choose the order of channels.
    """
    return _make(donor, recipient, mapping=plan.mapping).copies


def _make(donor: OpenModel, recipient: OpenModel, **options: Any) -> Plan:
    pairs = selection.mapping_pairs(options.get("mapping", ()))
    donor_layers = by_layer(donor.variables)
    recipient_layers = by_layer(recipient.variables)
    ties: list[ordering.Tie] = []
    back = recipient.pytorch and not donor.pytorch
    between = donor.pytorch != recipient.pytorch
    if not donor.ordered and donor.pytorch:
        if between:
            parts, _ = separable.split(recipient_layers, {})
            donor_layers, ties = ordering.by_shapes(donor_layers, parts)
    elif not donor.ordered:
        donor_layers = _in_order(donor_layers, recipient_layers)
    if not recipient.ordered and recipient.pytorch:
        if between:
            parts, _ = separable.split(donor_layers, {})
            recipient_layers, ties = ordering.by_shapes(recipient_layers, parts)
    elif not recipient.ordered:
        recipient_layers = _in_order(recipient_layers, donor_layers)
    mapping = {}
    if pairs:
        mapping = selection.expand_mapping(pairs, donor_layers, recipient_layers)
    by_structure = _by_structure(
        donor, recipient, donor_layers, recipient_layers, mapping, ties
    )
    donor_parts, _ = separable.split(donor_layers, {})
    recipient_parts, _ = separable.split(recipient_layers, {})
    structural = {target: source for target, (source, _) in by_structure[0].items()}
    pairs_by_path = {**structural, **mapping}
    donor_variables, donor_count = completion.completed(
        donor_layers,
        recipient_layers,
        {source: recipient_parts[t] for t, source in pairs_by_path.items()},
        other_decides=between and donor.pytorch,
        groups=donor.groups,
    )
    recipient_variables, recipient_count = completion.completed(
        recipient_layers,
        donor_layers,
        {target: donor_parts[s] for target, s in pairs_by_path.items()},
        other_decides=back,
        groups=recipient.groups,
    )
    plan = plan_module.make(
        donor_variables,
        recipient_variables,
        donor_edges=donor.edges,
        recipient_edges=recipient.edges,
        by_structure=by_structure,
        repeats=(donor.repeats, recipient.repeats),
        shared_paths=(_shared(donor, "donor"), _shared(recipient, "recipient")),
        **options,
    )
    of_graph = donor.pytorch and donor.edges is not None  # as of ONNX
    exact = between and of_graph
    notes = [
        f"the {side}'s file does not say the settings (epsilon, axis ...) of {count} layers; "
        f"taken to be those of the {counterpart}'s layers that they are paired with"
        for side, counterpart, count in (
            ("donor", "recipient", 0 if exact else donor_count),
            ("recipient", "donor", recipient_count),
        )
        if count
    ]
    entries = _with_ambiguous(plan.entries, donor)
    if donor.pytorch:
        notes += filter(None, [donor.remark])
    if of_graph:
        sides = donor_layers, recipient_layers
        entries = exported.without_folded(entries, donor, recipient, sides)
    if between:
        file, keras = (recipient, donor) if back else (donor, recipient)
        if not file.ordered:
            notes.append(
                f"{printable(file.name)} lists layers by name: their order is that of numbers in "
                "names, and of the other's shapes"
            )
        layers = donor_layers if back else recipient_layers
        if keras.edges is None and plan.problems:
            side = "donor" if back else "recipient"
            notes.append(
                f"the {side} {remedies.NO_GRAPH}; if its model m was made from an Input (as the "
                "backbones of KerasCV), save keras.Model(m.input, m.output) and take that file"
            )
        if exact:
            notes += exported.notes(plan, recipient)
        else:
            notes += same_function.notes(plan, keras, back)
        entries = pytorch.without_scrambled_rows(entries, layers, keras, back)
        entries = pytorch.without_neutral(entries, donor)
        entries = pytorch.with_places(entries, donor_layers, recipient_layers)
    return dataclasses.replace(plan, entries=entries, notes=(*plan.notes, *notes))


def _by_structure(
    donor: OpenModel,
    recipient: OpenModel,
    donor_layers: Mapping[str, Layer],
    recipient_layers: Mapping[str, Layer],
    mapping: Mapping[str, str],
    ties: Sequence[ordering.Tie],
) -> tuple[structure.Pairs, structure.Unclear]:
    """Pairs layers of a PyTorch file, or of a donor of bare weights, that are in no map.

    See `tfreuse.plan.structure` and `tfreuse.plan.matching.by_counter`.
    """
    bare = donor.edges is None and not donor.ordered and not donor.pytorch
    if bare and not mapping and recipient.ordered:
        layers = by_layer(donor.variables)  # in the order of the file
        pairs = matching.by_counter(layers, recipient_layers, every=donor.nameless)
        return pairs, []
    if donor.pytorch == recipient.pytorch:
        return {}, []
    if None not in (donor.edges, recipient.edges):
        edges = donor.edges, recipient.edges
        return exported.pair(donor_layers, recipient_layers, edges, mapping)
    mapped = set(mapping.values())
    sources = {path: x for path, x in donor_layers.items() if path not in mapped}
    targets = {path: x for path, x in recipient_layers.items() if path not in mapping}
    if donor.pytorch:
        return _by_graph(sources, targets, recipient, recipient_layers, ties)
    back, unclear = _by_graph(targets, sources, donor, donor_layers, ties)
    pairs = {target: (source, why) for source, (target, why) in back.items()}
    return pairs, [(donors, recipients) for recipients, donors in unclear]


def _by_graph(
    of_file: Mapping[str, Layer],
    unpaired: Mapping[str, Layer],
    keras: OpenModel,
    layers: Mapping[str, Layer],
    ties: Sequence[ordering.Tie],
) -> tuple[structure.Pairs, structure.Unclear]:
    """Pairs layers of a PyTorch file with those of a Keras model that has a graph.

    Args:
        of_file: the layers of the file.
        unpaired: of the Keras model, those that are in no map.
        keras: the model.
        layers: all of its layers.
        ties: layers of the file whose order nothing says.
    """
    if keras.edges is None:
        return {}, []
    try:
        calls, _ = keras.calls()
    except InputError:
        calls = []
    reads = topology.contract(keras.edges, layers)
    pairs = structure.pair(of_file, unpaired, reads, branches.pooled(calls, layers))
    return ordering.without_ties(*pairs, ties, reads) if ties else pairs


def _shared(model: OpenModel, side: str) -> tuple[list[Variable], str]:
    """Returns variables of layers that share a path, none of which can be addressed, and why."""
    variables = [
        Variable(
            path=array.path,
            layer=array.path.split("/")[-2],
            class_name="",
            role=array.role,
            position=-1,
            shape=array.shape,
            dtype=array.dtype,
        )
        for array in model.unaddressed
        if array.kind == "duplicate" and "/" in array.path
    ]
    why = f"the {side}'s file gives this name to several layers"
    if model.kind in KERAS_3:
        return (
            variables,
            f"{why}; give them names of their own in code, and save it again",
        )
    return variables, (
        f"{why}, without the inner models that they belong to; take the model's .keras file "
        f"as the {side}"
    )


def _with_ambiguous(entries: tuple[Entry, ...], donor: OpenModel) -> tuple[Entry, ...]:
    """Marks missing layers AMBIGUOUS where the donor has several layers of their name.

    Their arrays cannot be addressed, so that the plan alone would call them missing.
    """
    variables, reason = _shared(donor, "donor")
    names = {variable.layer for variable in variables}
    return tuple(
        dataclasses.replace(entry, status=plan_module.AMBIGUOUS, reason=reason)
        if entry.status == plan_module.MISSING
        and not entry.allowed
        and entry.recipient.layer in names
        else entry
        for entry in entries
    )


def _in_order(
    layers: Mapping[str, Layer], like: Mapping[str, Layer]
) -> Mapping[str, Layer]:
    """Sorts layers as the other model's of the same paths.

    Unchanged if the two disagree on the order of layers of one class in one inner model: the
    file has that order.
    """
    rank = {path: number for number, path in enumerate(like)}
    sequences: dict[tuple[str, str], list[int]] = {}
    for path, layer in layers.items():
        if path in rank and layer.class_name:
            key = path.rpartition("/")[0], layer.class_name
            sequences.setdefault(key, []).append(rank[path])
    if any(sorted(ranks) != ranks for ranks in sequences.values()):
        return layers
    last = len(rank)
    return dict(sorted(layers.items(), key=lambda item: rank.get(item[0], last)))


def options_of(plan: Plan) -> dict[str, Any]:
    """Returns the options that a plan was made with, as `make` takes them."""
    options = {name: getattr(plan, name) for name in _OPTIONS}
    options["adapters"] = ["=".join(pair) for pair in plan.adapters]
    options["channels"] = dict(plan.channels) or None
    return options


def check_same(plan: Plan, donor: OpenModel, recipient: OpenModel) -> None:
    """Makes the plan again; raises InputError unless these two models give the same."""
    again = make(donor, recipient, **options_of(plan))
    for old, new in zip(plan.entries, again.entries, strict=False):
        if _essence(old) != _essence(new):
            raise _changed(
                f"{new.variable} is {new.status}, was {old.variable} {old.status}"
            )
    if (len(plan.entries), plan.notes) != (len(again.entries), again.notes):
        raise _changed("they hold other variables, or other settings")


def _essence(entry: Entry) -> tuple:
    """Returns the parts that two plans must share; values may be equal by now."""
    status = plan_module.COPY if entry.status == plan_module.SAME else entry.status
    return status, entry.donor, entry.recipient, entry.adapters, entry.allowed


def _changed(difference: str) -> InputError:
    return InputError(
        f"the plan is not of these models: {difference}. Make the plan again with "
        "tools/transplant.py plan."
    )
