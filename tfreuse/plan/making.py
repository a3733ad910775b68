"""Makes a plan: selects variables, pairs them, and gives each a status."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tfreuse import roles as roles_module
from tfreuse.errors import InputError, first_names
from tfreuse.plan import adapters as adapters_module
from tfreuse.plan import (
    axes,
    matching,
    pairing,
    remedies,
    selection,
    separable,
    structure,
)
from tfreuse.plan import channels as channels_module
from tfreuse.plan.topology import Edges
from tfreuse.plan.values import (
    AMBIGUOUS,
    COPY,
    KEEP,
    MISMATCH,
    MISSING,
    PROBLEMS,
    REFUSED,
    UNUSED,
    Entry,
    Plan,
)
from tfreuse.plan.variables import Layer, Variable, by_layer

# Variables that cannot be addressed, since several have one path, and why that is so.
Shared = tuple[Sequence[Variable], str]


def make(
    donor: Sequence[Variable],
    recipient: Sequence[Variable],
    *,
    roles: str | Iterable[str] = "all",
    layers: str | Iterable[str] = ("*",),
    stages: str | Iterable[str] = (),
    depth: str | Sequence[float] | None = None,
    mapping: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    donor_edges: Edges | None = None,
    recipient_edges: Edges | None = None,
    by_structure: tuple[structure.Pairs, structure.Unclear] = ({}, []),
    allow_missing: str | Iterable[str] = (),
    allow_unused: str | Iterable[str] = (),
    adapters: str | Iterable[str] = (),
    channels: channels_module.Channels | None = None,
    shared_paths: tuple[Shared, Shared] = (((), ""), ((), "")),
    repeats: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> Plan:
    """Pairs the selected variables of two models and gives each a status.

    A variable of the donor moves if its counterpart in the recipient is selected. A selected
    variable of the donor without a counterpart is UNUSED. A text in place of several texts is
    split at its commas.

    Args:
        donor, recipient: variables of either side, from input to output.
        roles: roles and groups to move.
        layers: patterns on layer names and nested paths, full match, case-sensitive; "!"
            excludes. The last pattern that matches a layer decides.
        stages: patterns on stages, likewise; none: all stages.
        depth: "0..0.5" or (0, 0.5): share of the layers, 0 at the input, 1 at the output.
        mapping: donor layer -> recipient layer, with at most one `*` a side.
        donor_edges, recipient_edges: paths that each layer reads from, by its path; with
            both, layers of different names are paired by their position in the graph.
        by_structure: pairs of `structure.pair`, for a donor with PyTorch's names.
        allow_missing: patterns on recipient layers that may be without a donor.
        allow_unused: patterns on donor layers that may be without a recipient.
        adapters: "LAYERS=ADAPTER", see `tfreuse.plan.adapters`.
        channels: indices of the output channels that move, by path of the recipient's layer;
            other layers stay. None: layers move whole. `tfreuse.transplant.channels` finds the
            batch normalization behind a layer, which must be named too.
        shared_paths: of donor and recipient, variables that cannot be addressed since several
            have one path, and why that is so. Those that are selected are AMBIGUOUS.
        repeats: of donor and recipient, the two paths of a layer that a file stores twice, each
            by the other. Both are written, and one of the donor's is enough.

    Raises:
        InputError: a pattern matches no layer, the map does not fit, or nothing is selected.
    """
    plan = Plan(
        roles=roles_module.expand(roles),
        layers=selection.texts(layers),
        entries=(),
        stages=selection.texts(stages),
        depth=None if depth is None else selection.depth_range(depth),
        mapping=selection.mapping_pairs(mapping),
        allow_missing=selection.texts(allow_missing),
        allow_unused=selection.texts(allow_unused),
        adapters=adapters_module.parse(selection.texts(adapters)),
        channels=tuple((path, tuple(i)) for path, i in (channels or {}).items()),
    )
    edges = donor_edges, recipient_edges
    maker = _Maker(plan, donor, recipient, edges, by_structure, shared_paths, repeats)
    entries = maker.entries()
    plan = dataclasses.replace(plan, entries=entries, notes=maker.notes(entries))
    if not any(entry.status != KEEP for entry in entries):
        unknown = any(entry.reason == "unknown role" for entry in entries)
        raise InputError(
            f"nothing was selected: no layer that matches {list(plan.layers)} has a variable "
            f"of role {', '.join(plan.roles)}."
            + (
                " Layers of unknown classes move whole with --roles=all."
                if unknown
                else ""
            )
            + _channels_hint(plan)
        )
    refused = any(entry.status == REFUSED for entry in entries)
    for pattern, name in plan.adapters:
        if not refused and not any(name in entry.adapters for entry in entries):
            raise InputError(
                f"adapter {pattern}={name} changes nothing: shapes and types fit without it. "
                "Leave it out."
            )
    return plan


def _channels_hint(plan: Plan) -> str:
    """Returns a sentence on the layers of a channels file, which restrict the selection too."""
    if not plan.channels:
        return ""
    names = first_names(path for path, _ in plan.channels)
    return f" The channels are of {names}: select these layers and their roles."


class _Maker:
    """Layers of both sides, the selection, and the pairs of layers."""

    def __init__(self, plan, donor, recipient, edges, by_structure, shared, repeats):
        self.plan, self.edges, self.repeats = plan, edges, repeats
        self.kernels = not {"kernel", "bias"}.isdisjoint(plan.roles)
        self.whole = set(plan.roles) == set(roles_module.ROLES)
        self.donor, self.recipient = by_layer(donor), by_layer(recipient)
        self.donor_parts, _ = separable.split(self.donor, {})
        self.shared = [by_layer(variables) for variables, _ in shared]
        self.why_shared = [why for _, why in shared]
        self.selected = selection.choose(
            self.donor | self.shared[0],
            self.recipient | self.shared[1],
            layers=plan.layers,
            stages=plan.stages,
            depth=plan.depth,
        )
        self.matches = matching.pair(
            self.donor,
            self.recipient,
            mapping=plan.mapping,
            edges=edges,
            by_structure=by_structure,
        )
        matching.add_repeats(self.matches, repeats[1])
        self.selected = tuple(
            chosen | {same[path] for path in chosen if path in same}
            for chosen, same in zip(self.selected, repeats, strict=True)
        )
        self.by_structure = bool(by_structure[0])
        self.agree = axes.comparison(self.donor, self.recipient)
        self.missing_ok = _globs(plan.allow_missing, self.recipient | self.shared[1])
        self.unused_ok = _globs(plan.allow_unused, self.donor | self.shared[0])
        self.fillable: dict[str, str] = {}  # path of a missing variable -> its adapter
        self.adapters: dict[str, list[str]] = {}
        for pattern, name in plan.adapters:
            for path in _globs((pattern,), self.recipient):
                self.adapters.setdefault(path, []).append(name)
        if plan.channels:
            self._choose_channels()

    def _choose_channels(self) -> None:
        """Leaves out all layers but those with channels that move, and gives these an adapter."""
        paths, matches = dict(self.plan.channels), self.matches.of_recipient
        sources = {matches[path].other for path in paths if path in matches}
        self.selected = self.selected[0] & sources, self.selected[1] & paths.keys()
        for path, indices in paths.items():
            name = channels_module.adapter(indices)
            self.adapters.setdefault(path, []).append(name)

    def entries(self) -> tuple[Entry, ...]:
        entries, paired = [], set()
        for path, layer in self.recipient.items():
            match = self.matches.of_recipient.get(path)
            twin = self._twin(match)
            refusal = pairing.refusal(twin, layer, self.agree) if twin else ""
            composite = self.kernels and pairing.composite(layer)
            sources, unpaired = pairing.pairs(twin, layer) if twin else ({}, "")
            paired |= {source.path for source in sources.values()}
            if unpaired:
                is_known = pairing.is_known(twin)
                paired |= {v.path for v in twin.variables if not (is_known and v.role)}
            for variable in layer.variables:
                selected = path in self.selected[1]
                if selected and composite:
                    entries.append(Entry(REFUSED, None, variable, composite))
                    composite = ""  # once for a layer
                elif not selected or not self._moves(variable, layer):
                    reason = "not selected" if variable.role else "unknown role"
                    entries.append(Entry(KEEP, None, variable, reason))
                else:
                    source = sources.get(variable.path)
                    has_role = variable.role and pairing.is_known(layer)
                    why = refusal or ("" if has_role else unpaired)
                    entries.append(self._selected_entry(variable, source, match, why))
        for path, layer in self.donor.items():
            entries += self._unused(path, layer, paired)
        entries += self._of_shared_paths()
        return tuple(remedies.with_fills(entries, self.fillable))

    def _twin(self, match: matching.Match | None) -> Layer | None:
        """Returns the donor's layer of a match, of two for a separable convolution or half of one."""
        if match is None or match.other is None:
            return None
        twin = self.donor.get(match.other) or self.donor_parts[match.other]
        return separable.join(twin, self.donor[match.second]) if match.second else twin

    def _moves(self, variable: Variable, layer: Layer) -> bool:
        """Returns whether a variable of a selected layer is selected.

        One without a role is if all roles are: its layer then moves whole.
        """
        if variable.role is None:
            return self.whole and not pairing.composite(layer)
        return variable.role in self.plan.roles

    def _selected_entry(self, variable, source, match, refusal: str) -> Entry:
        path = variable.layer_path
        if match and match.other is None:
            return Entry(AMBIGUOUS, None, variable, match.reason)
        twin = self._twin(match)
        filled = adapters_module.FILLED.get(variable.role)
        composite = pairing.composite(twin) if twin and source is None else ""
        complete = (
            twin and not composite and None not in {v.role for v in twin.variables}
        )
        if source is None and filled in self.adapters.get(path, ()) and complete:
            # an entry needs a donor's array; the value is filled in, whatever that holds
            reason = f"set to {filled}"
            chosen = filter(channels_module.is_adapter, self.adapters[path])
            adapters = (filled, *chosen)
            return Entry(COPY, twin.variables[0], variable, reason, "", adapters)
        if source is None:
            reason = "the donor has no such layer"
            if composite:
                return Entry(REFUSED, None, variable, f"of the donor: {composite}")
            if twin and refusal:
                return Entry(REFUSED, None, variable, refusal)
            sides = ((twin, "donor"), (self.recipient[path], "recipient"))
            either = [pairing.either(*side) for side in sides if twin]
            if any(either) and variable.role not in roles_module.GROUPS["stats"]:
                return Entry(REFUSED, None, variable, either[0] or either[1])
            if twin and variable.role is None:  # of a known class: a count of samples
                return Entry(KEEP, None, variable, "no parameter")
            if match:
                reason = f"the donor's layer has no {variable.role}"
                if filled and complete:
                    self.fillable[variable.path] = filled
            elif matching.automatic(self.recipient[path]):
                reason += "; Keras made the name up, so pair it in a map"
            allowed = self.missing_ok.get(path, "")
            return Entry(MISSING, None, variable, reason, allowed)
        adapters = adapters_module.needed(self.adapters.get(path, ()), source, variable)
        misfit = adapters_module.fits(source, variable, adapters)
        status = REFUSED if refusal else MISMATCH if misfit else COPY
        reason = refusal or misfit or match.reason
        return Entry(status, source, variable, reason, adapters=adapters)

    def _unused(self, path: str, layer: Layer, paired: set[str]) -> list[Entry]:
        """Returns entries for selected variables of the donor without a counterpart."""
        same = self.donor.get(self.repeats[0].get(path, ""))
        moved = same and any(variable.path in paired for variable in same.variables)
        if path not in self.selected[0] or moved:
            return []
        match = self.matches.of_donor.get(path)
        if not match and self.kernels and (composite := pairing.composite(layer)):
            paths = [m.other for m in self.matches.of_recipient.values()]
            unpaired = [] if path in paths else layer.variables[:1]
            allowed = self.unused_ok.get(path, "")
            return [Entry(UNUSED, v, None, composite, allowed) for v in unpaired]
        unpaired = [
            variable
            for variable in layer.variables
            if variable.path not in paired
            and self._moves(variable, layer)
            and not (variable.role is None and pairing.is_known(layer))
        ]
        if match:
            return [Entry(AMBIGUOUS, v, None, match.reason) for v in unpaired]
        reason = "the recipient has no place for it"
        allowed = self.unused_ok.get(path, "")
        return [Entry(UNUSED, v, None, reason, allowed) for v in unpaired]

    def _of_shared_paths(self) -> Iterator[Entry]:
        """Yields entries for selected variables that cannot be addressed."""
        tolerances = (UNUSED, self.unused_ok), (MISSING, self.missing_ok)
        for side, (status, patterns) in enumerate(tolerances):
            for path, layer in self.shared[side].items():
                allowed = patterns.get(path, "")
                for variable in layer.variables if path in self.selected[side] else ():
                    if self._moves(variable, layer):
                        pair = (None, variable) if side else (variable, None)
                        why = self.why_shared[side], allowed
                        yield Entry(status if allowed else AMBIGUOUS, *pair, *why)

    def notes(self, entries: Iterable[Entry]) -> tuple[str, ...]:
        """Returns notes on parameters that the plan leaves behind, and on settings."""
        moved: dict[str, tuple[Layer, Layer, set[str]]] = {}
        for entry in entries:
            if entry.status == COPY:
                path, source = entry.recipient.layer_path, entry.donor.layer_path
                new = (self.donor[source], self.recipient[path], set())
                moved.setdefault(path, new)[2].add(entry.recipient.role)
        return (
            *pairing.notes(moved, self.recipient, self.edges[1], self.agree),
            *pairing.notes_on_unknown(e for e in entries if e.status == KEEP),
            *self._without_graph(entries),
        )

    def _without_graph(self, entries: Iterable[Entry]) -> Iterator[str]:
        """Yields a line on a side without a graph, where layers stay without a counterpart."""
        if not any(entry.status in PROBLEMS for entry in entries):
            return
        for side, edges in zip(("donor", "recipient"), self.edges, strict=True):
            if edges is None and not self.by_structure:
                yield (
                    f"the {side} has no graph of layers that can be read: layers are paired by "
                    "name, path or --map, not by their place"
                )


def _globs(patterns: Iterable[str], layers: Mapping[str, Layer]) -> dict[str, str]:
    """Returns the first pattern that matches each layer, by path of the layer."""
    first: dict[str, str] = {}
    words = {word for layer in layers.values() for word in (layer.name, layer.path)}
    for pattern in patterns:
        if pattern.startswith("!"):
            raise InputError(
                f"pattern {pattern!r}: tolerances and adapters name what they are for, "
                "without '!'."
            )
        hit = selection.matching(words, pattern)
        for path, layer in layers.items():
            if path in hit or layer.name in hit:
                first.setdefault(path, pattern)
    return first
