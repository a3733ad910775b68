"""Judges each hypothesis from records: supported, refuted, no difference, inconclusive ...

    for verdict in judge(records.read(path), spec):
        print(verdict.hypothesis, verdict.verdict, verdict.reason)

H1 to H4 are the four claims of Wang (arXiv:2008.03414), judged by the arms of all layers without
repair; H5 is that of its sister paper (arXiv:2008.03411), judged by kernels of single layers
(`closeness`). `tfreuse.analysis` has the table of quantities, thresholds and intervals.

Four settings decide, declared before the study runs and printed in every report:

- `--margin` (0.05): the retention that may be lost. A group can be reused (H2, H4) if the whole
  interval of its retention is at least 1 - margin, and cannot if the whole interval is below.
  H5 counts a kernel as reusable from 1 - margin on. A difference (H1) whose whole interval lies
  within -margin and margin, 0 included, is "no difference" (two one-sided tests; Schuirmann 1987).
- `--large` (0.5): the retention up to which the network counts as sensitive to a group (H3).
- `--minimum` (0.1): how far a recipient must be above its floor, in its metric. Below that it
  has too little to lose, and the hypothesis is not testable.
- `--confidence` (0.95): of every interval, hence of the verdicts. A higher confidence widens the
  intervals: fewer verdicts are wrong, more are inconclusive until more seeds have run. It never
  reverses a verdict, as another margin can. Holm's correction and the q-values of heat maps
  use the level 1 - confidence.

A study is judged by the settings it was started with: changing them after seeing its records
makes its verdicts exploratory. `Verdict.smallest_margin` is the smallest margin that the
interval could have supported.

Retentions below 0 count as 0, those above 1 as 1: a network worse than its floor retains nothing,
one better than before has lost nothing. Without that rule an auto-encoder whose R2 falls to -50
would be judged by how absurd its images are (retention has no lower end) instead of by whether it
still works. With it the intervals and p of `bounded` hold for few seeds, whatever their
distribution. It is one rule for every hypothesis, direction, heat map and table, stated in every
report; `Verdict.unclipped` is Student's or the bootstrap's interval without it.

So much cannot be had from few seeds: `bounded.fewest` says how many a verdict takes at best, and
every report begins with it.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfreuse import specs
from tfreuse.analysis import caveats, closeness, intervals, over_images
from tfreuse.analysis.arms import (
    Arms,
    Part,
    at_all_layers,
    by_part,
    clipped_retentions,
    effect_interval,
    paired,
    unclipped_interval,
    unclipped_retentions,
)
from tfreuse.analysis.hypotheses import HYPOTHESES, Hypothesis
from tfreuse.records import Record

VERDICTS = ("supported", "refuted", "no difference", "inconclusive", "not testable")
Side = Mapping[int, Record]  # one arm's records by seed


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on one hypothesis for one part of a study."""

    hypothesis: str  # "H1" to "H5"
    statement: str
    architecture: str
    direction: str
    link: str
    verdict: str  # one of VERDICTS
    effect: intervals.Interval | None  # None: no seed has all the arms
    margin: float  # declared: retention that may be lost; H3: that may be kept
    smallest_margin: float | None  # smallest that this interval could have supported
    n: int  # seeds
    reason: str
    notes: tuple[str, ...] = ()
    quantity: str = ""  # the quantity that `effect` estimates
    threshold: float = 0.0  # of `effect`, between supported and refuted
    unclipped: intervals.Interval | None = None  # with retentions below 0 as they are
    p: float | None = None  # two-sided, of "the effect is the threshold"
    p_holm: float | None = None  # adjusted for all verdicts of the study that have a p
    # intervals of the same effect, where every image's counts were recorded (`over_images`)
    images: intervals.Interval | None = None  # over test images, these seeds given
    both: intervals.Interval | None = None  # over seeds and images together

    @property
    def part(self) -> Part:
        return Part(self.architecture, self.direction, self.link)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON; an infinite end of an interval becomes None."""
        values = dataclasses.asdict(self) | {"notes": list(self.notes)}
        for name in ("effect", "unclipped", "images", "both"):
            interval = getattr(self, name)
            values[name] = interval.to_json() if interval else None
        return values


def judge(
    records: Iterable[Record],
    spec: specs.StudySpec,
    counts: over_images.ReadCounts | None = None,
) -> list[Verdict]:
    """Judges every hypothesis for every part of the study, in that order.

    Args:
        records: of one study; arms that belong to no hypothesis are left aside.
        spec: the margins and the confidence, declared before anything ran.
        counts: reads the per-image counts of a record, int [N, C, C] or float [N, 2]
            (`tfreuse.records`); without it there are no intervals over images.

    Raises:
        InputError: two records are of the same arm and seed.
    """
    parts = by_part(records)
    verdicts = []
    for part in declared_parts(parts, spec):
        verdicts += [
            _judge(hypothesis, part, parts, spec, counts) for hypothesis in HYPOTHESES
        ]
        verdicts.append(_judge_closeness(part, parts, spec))
    return _with_holm(_with_testable_parts(verdicts), spec)


def declared_parts(parts: Iterable[Part], spec: specs.StudySpec) -> list[Part]:
    """Returns the parts that the study declares for the architectures of `parts`, in order."""
    return [
        Part(architecture, direction, link)
        for architecture in sorted({part.architecture for part in parts})
        for direction in spec.directions
        for link in spec.links
    ]


def _judge(
    hypothesis: Hypothesis,
    part: Part,
    parts: Mapping[Part, Arms],
    spec: specs.StudySpec,
    counts: over_images.ReadCounts | None,
) -> Verdict:
    arms = parts.get(part, {})
    sides = [at_all_layers(arms, group) for group in hypothesis.groups]
    retentions = [clipped_retentions(side) for side in sides]
    values = [*paired(retentions).values()]
    effect = effect_interval(retentions, spec.confidence)
    images = _over_images(arms, sides, effect, hypothesis, counts) if effect else {}
    if spec.seeds == 1:
        effect, images = images.get("images") or effect, {}
    threshold = hypothesis.threshold(spec)
    obstacle = _obstacle(hypothesis, sides, spec)
    if obstacle:
        verdict, reason, notes = "not testable", obstacle, []
    else:
        verdict, reason = _compare(hypothesis, effect, spec)
        notes = caveats.companions(hypothesis.name, verdict, arms, spec)
        if hypothesis.difference:
            notes.append(caveats.by_link(hypothesis.groups, part, parts, spec))
        records = [record for side in sides for record in side.values()]
        notes += caveats.cautions(
            verdict, values, threshold, hypothesis.bounds, records, spec
        )
        if hypothesis.groups == ("bias",):
            notes += caveats.movable_biases(records, arms)
    return Verdict(
        hypothesis=hypothesis.name,
        statement=hypothesis.statement,
        **part._asdict(),
        verdict=verdict,
        effect=effect,
        margin=hypothesis.margin(spec),
        smallest_margin=None if obstacle else hypothesis.smallest_margin(effect),
        n=len(values),
        reason=reason,
        notes=tuple(notes),
        quantity=hypothesis.quantity,
        threshold=threshold,
        unclipped=unclipped_interval(
            [unclipped_retentions(side) for side in sides], spec.confidence
        ),
        p=(
            None
            if obstacle
            else intervals.p_value(values, threshold, bounds=hypothesis.bounds)
        ),
        **images,
    )


def _judge_closeness(
    part: Part, parts: Mapping[Part, Arms], spec: specs.StudySpec
) -> Verdict:
    fields = closeness.judge(parts.get(part, {}), spec)
    if spec.seeds == 1:
        fields |= {"verdict": "not testable", "reason": caveats.ONE_PAIR}
    if fields["verdict"] != "not testable":
        note = closeness.threshold_note(part, parts, spec)
        fields["notes"] = (*fields["notes"], note)
    return Verdict("H5", closeness.STATEMENT, **part._asdict(), **fields)


def _over_images(
    arms: Arms,
    sides: Sequence[Side],
    effect: intervals.Interval,
    hypothesis: Hypothesis,
    counts: over_images.ReadCounts | None,
) -> dict[str, intervals.Interval | None]:
    """Returns the fields `images` and `both` of a Verdict; {} if counts are missing."""
    counted = over_images.counts_of_sides(arms, sides, counts) if counts else None
    images = over_images.image_interval(counted, effect.confidence) if counted else None
    if not images:
        return {}
    combined = over_images.seed_and_image_interval(effect, images, hypothesis.bounds)
    return {"images": images, "both": combined}


def _obstacle(
    hypothesis: Hypothesis, sides: Sequence[Side], spec: specs.StudySpec
) -> str:
    """Returns a sentence on why the hypothesis cannot be tested; "" if it can."""
    for group, side in zip(hypothesis.groups, sides, strict=True):
        if group not in spec.groups:
            return f"Arms are missing: --groups leaves {group} out."
        if side and not any(record.variables for record in side.values()):
            return f"The networks have no parameters in the group {group}."
        if not side:
            return (
                f"Arms are missing: no seed has one with {group} of all layers; the networks "
                "have no such parameters, or the study has not come to it yet."
            )
    common = set.intersection(*(set(side) for side in sides))
    if len(common) < spec.seeds:
        counts = " and ".join(
            f"{group} for {len(side)}"
            for group, side in zip(hypothesis.groups, sides, strict=True)
        )
        return f"Arms are missing: of {spec.seeds} seeds, all layers were measured with {counts}."
    records = [record for side in sides for record in side.values()]
    if spec.seeds == 1:
        return caveats.ONE_PAIR
    if weak := caveats.too_little_to_lose(records, spec):
        return weak
    if hypothesis.groups == ("bias",) and (reason := caveats.unmoved_biases(records)):
        return reason
    for group, side in zip(hypothesis.groups, sides, strict=True):
        if not any(record.changed for record in side.values()):
            return f"Donor and recipient have the same values in the group {group}."
    return ""


def _compare(
    hypothesis: Hypothesis, effect: intervals.Interval, spec: specs.StudySpec
) -> tuple[str, str]:
    """Returns the verdict and its reason: on which side the whole interval lies."""
    threshold = hypothesis.threshold(spec)
    # The threshold itself supports, except where it means "no difference".
    above = effect.low > threshold or (
        effect.low == threshold and hypothesis.above and not hypothesis.difference
    )
    below = effect.high < threshold or (
        effect.high == threshold and not hypothesis.above
    )
    subject = f"interval of {hypothesis.quantity} lies"
    if above or below:
        return (
            "supported" if above == hypothesis.above else "refuted",
            f"The whole {subject} {'above' if above else 'below'} {threshold:g}.",
        )
    if hypothesis.difference and max(-effect.low, effect.high) <= spec.margin:
        reason = f"The whole {subject} within {spec.margin:g} of 0, the margin."
        return "no difference", reason
    reason = f"The {subject} on both sides of {threshold:g}."
    too_few = caveats.too_few(effect.n, threshold, hypothesis.bounds, spec)
    return "inconclusive", f"{too_few} {reason}".strip()


def _with_testable_parts(verdicts: list[Verdict]) -> list[Verdict]:
    """Adds a note to each untestable verdict on H4: for which networks it can be tested."""
    with_notes = []
    for verdict in verdicts:
        testable = [
            f"{peer.part}: {peer.verdict}"
            for peer in verdicts
            if peer.hypothesis == verdict.hypothesis == "H4"
            and peer.verdict != "not testable"
            and peer.direction == verdict.direction
        ]
        if verdict.verdict == "not testable" and testable:
            note = f"Tested where biases matter: {'; '.join(testable)}."
            verdict = dataclasses.replace(verdict, notes=(*verdict.notes, note))
        with_notes.append(verdict)
    return with_notes


def _with_holm(verdicts: list[Verdict], spec: specs.StudySpec) -> list[Verdict]:
    """Adds Holm's p and a note on it; the family is all verdicts that have a p."""
    family = [verdict.p for verdict in verdicts if verdict.p is not None]
    adjusted, level = iter(intervals.holm(family)), 1 - spec.confidence
    corrected = []
    for verdict in verdicts:
        if verdict.p is not None:
            p = next(adjusted)
            note = f"p = {verdict.p:.2g}; {p:.2g} after Holm's correction for {len(family)} tests"
            if verdict.p < level <= p:
                note += f", no longer below {level:.2g}: read it as exploratory"
            verdict = dataclasses.replace(
                verdict, p_holm=p, notes=(*verdict.notes, f"{note}.")
            )
        corrected.append(verdict)
    return corrected
