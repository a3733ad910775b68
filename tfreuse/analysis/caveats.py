"""Writes the notes beside a verdict, without which it would mislead: companions and cautions.

Companions report other arms that explain an effect, e.g. the same transplant after
recalibration. Cautions state the limits of the number of seeds, of their spread, of clipping
retentions, and of biases that did not move. A note is a sentence or two, with its interval and n;
it names an arm that was not measured.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tfreuse import errors, specs
from tfreuse.analysis import bounded, intervals, magnitude, over_images
from tfreuse.analysis.arms import (
    LINKS,
    Arm,
    Arms,
    Part,
    at_all_layers,
    clipped_retentions,
    effect_interval,
)
from tfreuse.analysis.hypotheses import HYPOTHESES
from tfreuse.records import UNMOVED, LabelRecord, Record
from tfreuse.specs.labels import SCRATCH

_LONGER = "Train them for longer ({flag})."
ONE_PAIR = "One pair of networks: nothing is known about networks of other seeds."


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
    lost = "what recalibration wins back was lost to stale statistics, not to the"
    if hypothesis == "H2":
        return [
            _against_defaults(arms, verdict, spec),
            _after_recalibration(arms, "affine", spec, f"{lost} gammas and betas"),
        ]
    if hypothesis == "H3":
        return [
            _against_same_task(arms, spec),
            _after_recalibration(arms, "kernel", spec, f"{lost} kernels"),
        ]
    if hypothesis == "H4":
        return [_after_recalibration(arms, "bias", spec, f"{lost} biases")]
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
            [clipped_retentions(at_all_layers(arms, group)) for group in groups],
            spec.confidence,
        )
        if effect and link != part.link:
            differences.append(f"{effect} with the link {link}, n = {effect.n}")
    if not differences:
        return f"Not measured: the same with another link than {part.link}."
    return f"The same difference is {' and '.join(differences)}."


def untrained(records: Iterable[Record], spec: specs.StudySpec) -> str:
    """Returns a sentence on a study's recipients that learnt too little; "" if there are none."""
    by_recipient = {record.recipient: record for record in records}
    networks = [
        (_above_floor(r), errors.printable(r.recipient), r.metric)
        for r in by_recipient.values()
    ]
    advice = _LONGER.format(flag="--steps")
    if not set(spec.directions) <= set(specs.ALL_DIRECTIONS):  # networks that exist
        advice = "Give images like those that they were trained with, of the same range and labels."
    return _hardly_trained(networks, "recipients", "their results", advice, spec)


def untrained_fits(records: Iterable[LabelRecord], spec: specs.StudySpec) -> str:
    """Returns a sentence on fits from scratch that learnt too little with most labels; or ""."""
    scratch = [record for record in records if record.recipe == SCRATCH]
    most = max((record.labels for record in scratch), default=0)
    networks = [
        (r.value - r.floor, f"of seed {r.seed}", r.metric)
        for r in scratch
        if r.labels == most
    ]
    nouns = f"fits from scratch with {most:,} labels"
    advice = _LONGER.format(flag="--label_steps")
    return _hardly_trained(networks, nouns, "gains over them", advice, spec)


def _hardly_trained(
    networks: Sequence[tuple[float, str, str]],
    nouns: str,
    results: str,
    advice: str,
    spec: specs.StudySpec,
) -> str:
    """Returns a sentence on networks under the declared minimum; "" if there are none.

    Args:
        networks: height above the floor, name and metric of each.
        nouns, results: words for the networks, and for the results that rest on them.
        advice: a sentence on a remedy.
    """
    poor = [network for network in networks if not _learnt_enough(network[0], spec)]
    if not poor:
        return ""
    above, name, metric = min(poor)
    return (
        f"{len(poor)} of {len(networks)} {nouns} learnt too little for {results} to mean anything: "
        f"the weakest, {name}, is {_height(above)} in {metric}, under the declared minimum of "
        f"{spec.minimum:g}. {advice}"
    )


def _above_floor(record: Record) -> float:
    return record.before - record.floor


def _height(above: float) -> str:
    """Returns how far a network is from its floor, as "0.1 below its floor"."""
    side = "below" if above < 0 else "above"
    return f"{intervals.number(abs(above))} {side} its floor"


def _learnt_enough(above: float, spec: specs.StudySpec) -> bool:
    """Returns whether a network has enough to lose for retention to mean something."""
    return 0 < above and above >= spec.minimum


def too_little_to_lose(records: Iterable[Record], spec: specs.StudySpec) -> str:
    """Returns a sentence on the recipient closest to its floor; "" if it is far enough above."""
    weakest = min(records, key=_above_floor)
    above = _above_floor(weakest)
    if _learnt_enough(above, spec):
        return ""
    return (
        f"The recipient of seed {weakest.seed} is {_height(above)} in {weakest.metric}, under the "
        f"declared minimum of {spec.minimum:g}: it has too little to lose."
    )


def too_few(
    n: int, threshold: float, bounds: bounded.Bounds, spec: specs.StudySpec
) -> str:
    """Returns a sentence where no n seeds can settle the mean's side, whatever they are."""
    needed = bounded.fewest(threshold, bounds, spec.confidence)
    least = min((count for count in needed if count), default=None)
    if least is None or n >= least:
        return ""
    return f"n = {n} cannot settle it, whatever the seeds retain: it takes {least}."


def few_seeds(spec: specs.StudySpec, images: int = 0) -> str:
    """Returns the verdicts on H1 to H4 that the study's seeds cannot reach; "" if none.

    Args:
        spec: the study's settings.
        images: the number of its test images.
    """
    if spec.seeds == 1:
        fewest = over_images.FEWEST_IMAGES
        if images < fewest:
            return (
                f"{ONE_PAIR} {images} test images are too few for intervals over images: give "
                f"{fewest} at least."
            )
        return f"{ONE_PAIR} Intervals are over its {images} test images."
    claims: dict[tuple[str, int], list[str]] = {}
    for hypothesis in HYPOTHESES:
        if not set(hypothesis.groups) <= set(spec.groups):
            continue
        threshold = hypothesis.threshold(spec)
        needed = bounded.fewest(threshold, hypothesis.bounds, spec.confidence)
        words = (
            ("supported", "refuted") if hypothesis.above else ("refuted", "supported")
        )
        for verdict, count in zip(words, needed, strict=True):
            if count and count > spec.seeds:
                claims.setdefault((verdict, count), []).append(hypothesis.name)
    sentences = [
        f"{', '.join(names)} cannot be {verdict} (that takes {count} seeds)"
        for (verdict, count), names in sorted(claims.items(), reverse=True)
    ]
    if not sentences:
        return ""
    lost = intervals.number(1 - ((1 - spec.confidence) / 2) ** (1 / spec.seeds))
    return (
        f"With {spec.seeds} seeds, whatever they retain, {'; '.join(sentences)}. Even equal "
        f"seeds leave room for a mean {lost} of the range away."
    )


def cautions(
    verdict: str,
    values: Sequence[float],
    threshold: float,
    bounds: bounded.Bounds,
    records: Iterable[Record],
    spec: specs.StudySpec,
) -> list[str]:
    """Returns the notes on retentions that were clipped and on the seeds that are needed.

    Args:
        verdict: one of VERDICTS.
        values: one a seed, whose interval was compared with `threshold`.
        threshold: between supported and refuted.
        bounds: the range of the values.
        records: the records that the values were computed from.
        spec: the study's settings.
    """
    notes, records = [], list(records)
    for side, end, outside in (
        ("below", 0, [record for record in records if record.retention < 0]),
        ("above", 1, [record for record in records if record.retention > 1]),
    ):
        if outside:
            notes.append(
                f"{len(outside)} of {len(records)} retentions are {side} {end} and count as "
                f"{end} here; the CSV of all layers has them as they are."
            )
    if verdict == "inconclusive":
        n = bounded.needed_n(values, threshold, bounds, spec.confidence)
        seeds = f"about {n}" if n else f"over {bounded.MOST_NEEDED}"
        sd = float(np.std(values, ddof=1))
        notes.append(
            f"If mean and spread (sd {intervals.number(sd)}) stayed as they are, {seeds} seeds "
            "would settle it."
        )
    return notes


def unmoved_biases(records: Iterable[Record]) -> str:
    """Returns a sentence if biases are missing or none of them moved; "" otherwise.

    Batch normalization subtracts the bias of the convolution before it, so such biases get no
    gradient: reusing them proves nothing.
    """
    records = list(records)
    shifts = [record.bias_shift for record in records]
    if None in shifts:
        return "The networks have no biases."
    if min(map(_moved_share, records)) > 0:
        return ""
    return (
        "The biases hardly moved: donor and recipient differ by a median of "
        f"{np.median(shifts):.2g} standard deviations of the channel, and in some seed none by "
        f"{UNMOVED:g} or more."
    )


def movable_biases(records: Iterable[Record], arms: Arms) -> list[str]:
    """Returns a note that limits a verdict on biases to those that moved, if not all did.

    The others have nearly the same value in donor and recipient, so that the transplant of all
    biases is the transplant of the movable ones.
    """
    share = min(map(_moved_share, records))
    if share >= 1:
        return []
    moved = [
        arm.site
        for arm, seeds in arms.items()
        if arm == Arm("transfer", "layer", arm.site, "bias")
        and min(map(_moved_share, seeds.values())) > 0
    ]
    note = (
        f"Judged by the {share:.1%} of biases that differ by {UNMOVED:g} standard deviations of "
        "the channel or more. The others hardly moved, e.g. those before batch normalization: "
        "for them the claim is not testable."
    )
    return [
        f"{note} Those that moved are in {errors.first_names(moved, 6)}."
        if moved
        else note
    ]


def _moved_share(record: Record) -> float:
    if record.bias_moved is not None:
        return record.bias_moved
    return float((record.bias_shift or 0.0) >= UNMOVED)


def _after_recalibration(
    arms: Arms, group: str, spec: specs.StudySpec, meaning: str
) -> str:
    retained = clipped_retentions(at_all_layers(arms, group, repair="recalibration"))
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
    donor = clipped_retentions(at_all_layers(arms, "affine"))
    defaults = clipped_retentions(at_all_layers(arms, "affine", "defaults"))
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
    records = at_all_layers(arms, "kernel", "other_seed")
    same_task = clipped_retentions(records)
    transfer = clipped_retentions(at_all_layers(arms, "kernel"))
    same = effect_interval([same_task], spec.confidence, records)
    excess = effect_interval([same_task, transfer], spec.confidence, records)
    if not same or not excess:
        return (
            "Not measured: a donor of the same task (control other_seed), so the loss may not "
            "be task related."
        )
    comparison = (
        f"A donor of the same task and another seed retains {same}, which is {excess} more, "
        f"n = {excess.n} pairs that share no network"
    )
    if same.high <= spec.large:
        return f"{comparison}: it fails too, so most of the loss is not task related."
    if excess.low > 0:
        return f"{comparison}: part of the loss is task related."
    return f"{comparison}: whether the task matters stays open."
