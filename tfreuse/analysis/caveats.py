"""What must stand beside a verdict for it not to mislead: companions and cautions.

Companions are other arms that say what an effect is made of. Cautions say what this number of
seeds, this spread and the rule that a retention below 0 counts as 0 leave open. Each is one
sentence or two, with the interval and n it speaks from; an arm that was not measured is named.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tfreuse import specs
from tfreuse.analysis import intervals, magnitude
from tfreuse.analysis.arms import (
    LINKS,
    Arms,
    Part,
    at_all_layers,
    effect_interval,
    floored_retentions,
)
from tfreuse.records import Record


def companions(
    hypothesis: str, verdict: str, arms: Arms, spec: specs.StudySpec
) -> list[str]:
    """The sentences that belong to one of H1 to H4; H5 has its own."""
    if hypothesis == "H1":
        meaning = (
            "they can be had from unlabelled images, so H1 is about what hurts most when it is "
            "set wrongly, not about what was learned"
        )
        return [
            _after_recalibration(arms, "stats", spec, meaning),
            _beyond_magnitude(arms, spec),
        ]
    if hypothesis == "H2":
        return [_against_defaults(arms, verdict, spec)]
    if hypothesis == "H3":
        meaning = "what recalibration wins back was lost to stale statistics, not to the kernels"
        return [
            _against_same_task(arms, spec),
            _after_recalibration(arms, "kernel", spec, meaning),
        ]
    return []


def by_link(
    groups: Sequence[str],
    part: Part,
    parts: Mapping[Part, Arms],
    spec: specs.StudySpec,
) -> str:
    """The same difference where donor and recipient began with other, or the same, values."""
    told = []
    for link in LINKS:
        arms = parts.get(part._replace(link=link), {})
        found = effect_interval(
            [floored_retentions(at_all_layers(arms, group)) for group in groups],
            spec.confidence,
        )
        if found and link != part.link:
            told.append(f"{found} with the link {link}, n = {found.n}")
    if not told:
        return f"Not measured: the same with another link than {part.link}."
    return f"The same difference is {' and '.join(told)}."


def too_little_to_lose(records: Iterable[Record], spec: specs.StudySpec) -> str:
    """Says which recipient is too close to its floor to be judged; "" if none is."""
    weakest = min(records, key=lambda record: record.before - record.floor)
    above = weakest.before - weakest.floor
    if 0 < above and above >= spec.minimum:
        return ""
    return (
        f"The recipient of seed {weakest.seed} is {intervals.number(above)} above its floor in "
        f"{weakest.metric}, under the declared minimum of {spec.minimum:g}: it has too "
        "little to lose."
    )


def precision(values: Sequence[float], spec: specs.StudySpec) -> list[str]:
    """What the declared margin would take with this spread, if nothing at all were lost."""
    sd = float(np.std(values, ddof=1))
    n = intervals.needed_n(sd, spec.margin, spec.confidence)
    if sd == 0 or (n and n <= len(values)):
        return []
    seeds = f"about {n}" if n else f"over {intervals.MOST_NEEDED}"
    told = f"With this spread a margin of {spec.margin:g} takes {seeds} seeds"
    return [f"{told} even where nothing is lost."]


def cautions(
    verdict: str,
    found: intervals.Interval,
    values: Sequence[float],
    threshold: float,
    records: Iterable[Record],
) -> list[str]:
    """The sentences that n, the spread and floored retentions call for.

    Args:
        found: the interval of `values`, one a seed, that was held against `threshold`.
        records: what the values were made of.
    """
    notes, records = [], list(records)
    below = sum(record.retention < 0 for record in records)
    if below:
        notes.append(
            f"{below} of {len(records)} retentions are below 0 and count as 0 here; the figure "
            "of all layers and its CSV have them as they are."
        )
    if found.method == "no spread":
        notes.append("All seeds gave the same value, so the interval has no width.")
    elif verdict == "inconclusive":
        sd = float(np.std(values, ddof=1))
        n = intervals.needed_n(sd, abs(found.estimate - threshold), found.confidence)
        seeds = f"about {n}" if n else f"over {intervals.MOST_NEEDED}"
        notes.append(
            f"If mean and spread (sd {intervals.number(sd)}) stayed as they are, {seeds} seeds "
            "would settle it."
        )
    smallest, level = (
        intervals.smallest_sign_flip_p(found.n),
        1 - found.confidence,
    )
    if smallest >= level:
        notes.append(
            f"n = {found.n} cannot reach p < {level:.2g} in a sign-flip test (smallest p: "
            f"{smallest:.3g}); the interval rests on nearly normal values."
        )
    return notes


def _after_recalibration(
    arms: Arms, group: str, spec: specs.StudySpec, meaning: str
) -> str:
    retained = floored_retentions(at_all_layers(arms, group, repair="recalibration"))
    found = effect_interval([retained], spec.confidence)
    if not found:
        return f"Not measured: {group} after recalibration."
    return (
        f"After recalibration retention({group}) is {found}, n = {found.n}: {meaning}."
    )


def _beyond_magnitude(arms: Arms, spec: specs.StudySpec) -> str:
    """Whether stats cost more than affine where both were moved equally far."""
    rows = [
        row
        for row in magnitude.rows(arms, spec)
        if (row["group"], row["against"]) == ("stats", "affine")
        and row["magnitude"] == "shifts"
    ]
    if not rows:
        return (
            "Not measured: stats and affine moved equally far, so the size of the move may be "
            "all that differs."
        )
    row = rows[0]  # of layers, if there are any
    mean, low, high = (intervals.number(row[key]) for key in ("mean", "low", "high"))
    told = (
        f"At single {row['site_kind']}s, moved equally far, stats cost {mean} [{low}, {high}] "
        f"more retention than affine, n = {row['n']}"
    )
    meaning = {
        "vanishes": "the size of the move explains the difference, not the kind of parameter",
        "stays": "the kind of parameter matters beyond the size of the move",
        "open": "whether the kind matters beyond the size of the move stays open",
        "no overlap": f"but only {row['overlap']:.0%} of the moves of stats are of a size that "
        "moves of affine have too, so kind and size cannot be told apart",
    }
    return f"{told}: {meaning[row['effect']]}."


def _against_defaults(arms: Arms, verdict: str, spec: specs.StudySpec) -> str:
    """Whether the donor's gamma and beta are better than gamma = 1 and beta = 0."""
    donor = floored_retentions(at_all_layers(arms, "affine"))
    resetting = floored_retentions(at_all_layers(arms, "affine", "defaults"))
    gain = effect_interval([donor, resetting], spec.confidence)
    if not gain:
        return (
            "Not measured: resetting gamma to 1 and beta to 0 (control defaults), so the donor's "
            "values may be no better than none."
        )
    told = f"resetting to 1 and 0: retention differs by {gain}, n = {gain.n}."
    if gain.low > 0:
        return f"The donor's gamma and beta are better than {told}"
    if gain.high < 0:
        return f"The donor's gamma and beta are worse than {told}"
    if verdict == "supported":
        return f"Reusable, but not shown to be better than {told}"
    return f"Neither shown to be better nor worse than {told}"


def _against_same_task(arms: Arms, spec: specs.StudySpec) -> str:
    """Whether kernels of the same task, trained from another seed, fail as well."""
    same_task = floored_retentions(at_all_layers(arms, "kernel", "other_seed"))
    transfer = floored_retentions(at_all_layers(arms, "kernel"))
    same = effect_interval([same_task], spec.confidence)
    excess = effect_interval([same_task, transfer], spec.confidence)
    if not same or not excess:
        return (
            "Not measured: a donor of the same task (control other_seed), so the loss may not "
            "be task related."
        )
    told = (
        f"A donor of the same task and another seed retains {same}, which is {excess} more, "
        f"n = {excess.n}"
    )
    if same.high <= spec.large:
        return f"{told}: it fails too, so most of the loss is not task related."
    if excess.low > 0:
        return f"{told}: part of the loss is task related."
    return f"{told}: whether the task matters stays open."
