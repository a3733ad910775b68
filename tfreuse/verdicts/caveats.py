"""What must stand beside a verdict for it not to mislead: companions and cautions.

Companions are other arms that say what an effect is made of. Cautions say what this number of
seeds, this spread and the rule that a retention below 0 counts as 0 leave open. Each is one
sentence or two, with the interval and n it speaks from; an arm that was not measured is named.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tfreuse import specs, statistics
from tfreuse.records import Record
from tfreuse.verdicts.arms import Arms, effect, everywhere, floored


def companions(
    hypothesis: str, verdict: str, arms: Arms, spec: specs.StudySpec
) -> list[str]:
    """The sentences that belong to one of H1 to H4."""
    if hypothesis == "H1":
        meaning = (
            "they can be had from unlabelled images, so H1 is about what hurts most when it is "
            "set wrongly, not about what was learned"
        )
        return [_after_recalibration(arms, "stats", spec, meaning)]
    if hypothesis == "H2":
        return [_against_defaults(arms, verdict, spec)]
    if hypothesis == "H3":
        meaning = "what recalibration wins back was lost to stale statistics, not to the kernels"
        return [
            _against_same_task(arms, spec),
            _after_recalibration(arms, "kernel", spec, meaning),
        ]
    return []


def cautions(
    verdict: str,
    found: statistics.Interval,
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
        n = statistics.needed_n(sd, abs(found.estimate - threshold), found.confidence)
        seeds = f"about {n}" if n else f"over {statistics.MOST_NEEDED}"
        notes.append(
            f"If mean and spread (sd {statistics.number(sd)}) stayed as they are, {seeds} seeds "
            "would settle it."
        )
    smallest, level = (
        statistics.smallest_sign_flip_p(found.n),
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
    retained = floored(everywhere(arms, group, repair="recalibration"))
    found = effect([retained], spec.confidence)
    if not found:
        return f"Not measured: {group} after recalibration."
    return (
        f"After recalibration retention({group}) is {found}, n = {found.n}: {meaning}."
    )


def _against_defaults(arms: Arms, verdict: str, spec: specs.StudySpec) -> str:
    """Whether the donor's gamma and beta are better than gamma = 1 and beta = 0."""
    donor = floored(everywhere(arms, "affine"))
    resetting = floored(everywhere(arms, "affine", "defaults"))
    gain = effect([donor, resetting], spec.confidence)
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
    same_task = floored(everywhere(arms, "kernel", "other_seed"))
    transfer = floored(everywhere(arms, "kernel"))
    same = effect([same_task], spec.confidence)
    excess = effect([same_task, transfer], spec.confidence)
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
