"""Writes the notes beside a verdict, without which it would mislead: companions and cautions.

Companions report other arms that explain an effect, e.g. the same transplant after
recalibration. Cautions state the limits of the number of seeds, of their spread, and of counting
retentions below 0 as 0. A note is a sentence or two, with its interval and n; it names an arm
that was not measured.
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
    """Returns the notes on other arms for one of H1 to H4; `closeness` has those of H5."""
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
    """Returns a note on the same difference with every other link of donor and recipient."""
    differences = []
    for link in LINKS:
        arms = parts.get(part._replace(link=link), {})
        effect = effect_interval(
            [floored_retentions(at_all_layers(arms, group)) for group in groups],
            spec.confidence,
        )
        if effect and link != part.link:
            differences.append(f"{effect} with the link {link}, n = {effect.n}")
    if not differences:
        return f"Not measured: the same with another link than {part.link}."
    return f"The same difference is {' and '.join(differences)}."


def too_little_to_lose(records: Iterable[Record], spec: specs.StudySpec) -> str:
    """Returns a sentence on the recipient closest to its floor; "" if it is far enough above."""
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
    """Returns how many seeds the declared margin needs with this spread, if nothing were lost.

    The list is empty where the seeds measured are enough.
    """
    sd = float(np.std(values, ddof=1))
    n = intervals.needed_n(sd, spec.margin, spec.confidence)
    if sd == 0 or (n and n <= len(values)):
        return []
    seeds = f"about {n}" if n else f"over {intervals.MOST_NEEDED}"
    note = f"With this spread a margin of {spec.margin:g} takes {seeds} seeds"
    return [f"{note} even where nothing is lost."]


def cautions(
    verdict: str,
    effect: intervals.Interval,
    values: Sequence[float],
    threshold: float,
    records: Iterable[Record],
) -> list[str]:
    """Returns the notes on n, on the spread and on retentions below 0.

    Args:
        effect: the interval of `values`, one a seed, that was compared with `threshold`.
        records: the records that the values were computed from.
    """
    notes, records = [], list(records)
    below = sum(record.retention < 0 for record in records)
    if below:
        notes.append(
            f"{below} of {len(records)} retentions are below 0 and count as 0 here; the figure "
            "of all layers and its CSV have them as they are."
        )
    if effect.method == "no spread":
        notes.append("All seeds gave the same value, so the interval has no width.")
    elif verdict == "inconclusive":
        sd = float(np.std(values, ddof=1))
        n = intervals.needed_n(sd, abs(effect.estimate - threshold), effect.confidence)
        seeds = f"about {n}" if n else f"over {intervals.MOST_NEEDED}"
        notes.append(
            f"If mean and spread (sd {intervals.number(sd)}) stayed as they are, {seeds} seeds "
            "would settle it."
        )
    smallest, level = intervals.smallest_sign_flip_p(effect.n), 1 - effect.confidence
    if smallest >= level:
        notes.append(
            f"n = {effect.n} cannot reach p < {level:.2g} in a sign-flip test (smallest p: "
            f"{smallest:.3g}); the interval rests on nearly normal values."
        )
    return notes


def _after_recalibration(
    arms: Arms, group: str, spec: specs.StudySpec, meaning: str
) -> str:
    retained = floored_retentions(at_all_layers(arms, group, repair="recalibration"))
    effect = effect_interval([retained], spec.confidence)
    if not effect:
        return f"Not measured: {group} after recalibration."
    return f"After recalibration retention({group}) is {effect}, n = {effect.n}: {meaning}."


def _beyond_magnitude(arms: Arms, spec: specs.StudySpec) -> str:
    """Returns a note on the cost of stats and affine where both were moved equally far."""
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
    cost = (
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
    return f"{cost}: {meaning[row['effect']]}."


def _against_defaults(arms: Arms, verdict: str, spec: specs.StudySpec) -> str:
    """Returns a note that compares the donor's gamma and beta with gamma = 1 and beta = 0."""
    donor = floored_retentions(at_all_layers(arms, "affine"))
    defaults = floored_retentions(at_all_layers(arms, "affine", "defaults"))
    gain = effect_interval([donor, defaults], spec.confidence)
    if not gain:
        return (
            "Not measured: resetting gamma to 1 and beta to 0 (control defaults), so the donor's "
            "values may be no better than none."
        )
    resetting = f"resetting to 1 and 0: retention differs by {gain}, n = {gain.n}."
    if gain.low > 0:
        return f"The donor's gamma and beta are better than {resetting}"
    if gain.high < 0:
        return f"The donor's gamma and beta are worse than {resetting}"
    if verdict == "supported":
        return f"Reusable, but not shown to be better than {resetting}"
    return f"Neither shown to be better nor worse than {resetting}"


def _against_same_task(arms: Arms, spec: specs.StudySpec) -> str:
    """Returns a note on kernels of the same task, trained from another seed."""
    same_task = floored_retentions(at_all_layers(arms, "kernel", "other_seed"))
    transfer = floored_retentions(at_all_layers(arms, "kernel"))
    same = effect_interval([same_task], spec.confidence)
    excess = effect_interval([same_task, transfer], spec.confidence)
    if not same or not excess:
        return (
            "Not measured: a donor of the same task (control other_seed), so the loss may not "
            "be task related."
        )
    comparison = (
        f"A donor of the same task and another seed retains {same}, which is {excess} more, "
        f"n = {excess.n}"
    )
    if same.high <= spec.large:
        return f"{comparison}: it fails too, so most of the loss is not task related."
    if excess.low > 0:
        return f"{comparison}: part of the loss is task related."
    return f"{comparison}: whether the task matters stays open."
