"""What a study says about each hypothesis: supported, refuted, inconclusive or not testable.

    for verdict in judge(records.read(path), spec):
        print(verdict.hypothesis, verdict.verdict, verdict.reason)

The hypotheses H1 to H4 are the four claims of Wang (arXiv:2008.03414), held against the arms of
all layers, without repair; H5 is that of its sister (arXiv:2008.03411), held against kernels of
single layers (`verdicts.closeness`). Effects are made of the retentions of single seeds, where a retention
below 0 counts as 0: a network worse than the one that knows nothing retains nothing. Without
that rule an auto-encoder whose R2 falls to -50 would be judged by how absurd its images are
(retention has no lower end) instead of by whether it still works. It is one rule for every
hypothesis and direction, told in every report; `unclipped` holds the interval without it.

A verdict never says more than its interval: supported and refuted need the whole interval on one
side of the threshold, whatever the estimate is.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfreuse import specs
from tfreuse.analysis import caveats, closeness, intervals, over_images
from tfreuse.analysis.arms import (
    Arms,
    Part,
    at_all_layers,
    by_part,
    effect_interval,
    floored_retentions,
    paired,
    unclipped_retentions,
)
from tfreuse.records import UNMOVED, Record

VERDICTS = ("supported", "refuted", "inconclusive", "not testable")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the records of one architecture and direction say about one hypothesis."""

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
    quantity: str = ""  # what `effect` estimates
    threshold: float = 0.0  # of `effect`, between supported and refuted
    unclipped: intervals.Interval | None = None  # retentions below 0 left as they are
    p: float | None = None  # two-sided, of "the effect is the threshold"
    p_holm: float | None = None  # adjusted for all verdicts of the study that have a p
    # of the same effect, where every image's counts were kept (see `verdicts.images`)
    images: intervals.Interval | None = None  # over test images, these seeds given
    both: intervals.Interval | None = None  # over seeds and images together

    @property
    def part(self) -> Part:
        return Part(self.architecture, self.direction, self.link)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; an infinite end of an interval becomes None."""
        values = dataclasses.asdict(self) | {"notes": list(self.notes)}
        for name in ("effect", "unclipped", "images", "both"):
            found = getattr(self, name)
            values[name] = found.to_json() if found else None
        return values


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A claim about retention, and the side of the threshold that supports it.

    Of two groups the effect is the difference, first minus second, and the threshold is 0.
    """

    name: str
    statement: str
    groups: tuple[str, ...]
    above: (
        bool  # supported above the threshold and refuted below, or the other way round
    )

    @property
    def difference(self) -> bool:
        return len(self.groups) == 2

    @property
    def quantity(self) -> str:
        return " − ".join(f"retention({group})" for group in self.groups)

    def margin(self, spec: specs.StudySpec) -> float:
        if self.difference:
            return 0.0
        return spec.margin if self.above else spec.large

    def threshold(self, spec: specs.StudySpec) -> float:
        return (
            1 - spec.margin if self.above and not self.difference else self.margin(spec)
        )

    def smallest_margin(self, effect: intervals.Interval) -> float | None:
        if self.difference or math.isinf(effect.low):
            return None
        return max(0.0, 1 - effect.low if self.above else effect.high)


HYPOTHESES = (
    Hypothesis(
        "H1",
        "Replacing moving mean and variance costs more than replacing gamma and beta.",
        ("affine", "stats"),
        above=True,
    ),
    Hypothesis("H2", "Gamma and beta can be reused.", ("affine",), above=True),
    Hypothesis(
        "H3",
        "The network is very sensitive to its convolution kernels.",
        ("kernel",),
        above=False,
    ),
    Hypothesis("H4", "Convolution biases can be reused.", ("bias",), above=True),
)


def judge(
    records: Iterable[Record],
    spec: specs.StudySpec,
    counts: over_images.ReadCounts | None = None,
) -> list[Verdict]:
    """A verdict for every part of the study and hypothesis, in that order.

    Args:
        records: of one study; arms that belong to no hypothesis are left aside.
        spec: the margins and the confidence, declared before anything ran.
        counts: reads what was counted on every image of a record, int [N, C, C] or float
            [N, 2] (`records`); without it no interval over images is told.

    Raises:
        InputError: two records are of the same arm and seed.
    """
    parts = by_part(records)
    found = []
    for part in declared_parts(parts, spec):
        found += [
            _judge(hypothesis, part, parts, spec, counts) for hypothesis in HYPOTHESES
        ]
        found.append(_judge_closeness(part, parts, spec))
    return _with_holm(_with_elsewhere(found), spec)


def declared_parts(parts: Iterable[Part], spec: specs.StudySpec) -> list[Part]:
    """The parts that the study declares for the architectures that there are, in order."""
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
    retained = [floored_retentions(side) for side in sides]
    values = paired(retained)
    effect = effect_interval(retained, spec.confidence)
    threshold = hypothesis.threshold(spec)
    obstacle = _obstacle(hypothesis, sides, spec)
    if obstacle:
        verdict, reason, notes = "not testable", obstacle, []
    else:
        verdict, reason = _compare(hypothesis, effect, threshold)
        notes = caveats.companions(hypothesis.name, verdict, arms, spec)
        if hypothesis.difference:
            notes.append(caveats.by_link(hypothesis.groups, part, parts, spec))
        records = [record for side in sides for record in side.values()]
        notes += caveats.cautions(verdict, effect, values, threshold, records)
        if hypothesis.above and not hypothesis.difference and verdict == "inconclusive":
            notes += caveats.precision(values, spec)
    of_images = _over_images(arms, sides, spec, counts) if effect else {}
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
        unclipped=effect_interval(
            [unclipped_retentions(side) for side in sides], spec.confidence
        ),
        p=None if obstacle else intervals.p_value(values, threshold),
        **of_images,
    )


def _judge_closeness(
    part: Part,
    parts: Mapping[Part, Arms],
    spec: specs.StudySpec,
) -> Verdict:
    found = closeness.judge(parts.get(part, {}), spec)
    if found["verdict"] != "not testable":
        note = closeness.threshold_note(part, parts, spec)
        found["notes"] = (*found["notes"], note)
    return Verdict("H5", closeness.STATEMENT, **part._asdict(), **found)


def _over_images(
    arms: Arms,
    sides: list[Mapping[int, Record]],
    spec: specs.StudySpec,
    counts: over_images.ReadCounts | None,
) -> dict[str, intervals.Interval | None]:
    """The intervals over images, and over seeds and images; {} if counts are missing."""
    found = over_images.counts_of_sides(arms, sides, counts) if counts else None
    if not found:
        return {}
    return {
        "images": over_images.image_interval(found, spec.confidence),
        "both": over_images.seed_and_image_interval(found, spec.confidence),
    }


def _obstacle(
    hypothesis: Hypothesis,
    sides: list[Mapping[int, Record]],
    spec: specs.StudySpec,
) -> str:
    """Why the hypothesis cannot be tested, as a sentence; "" if it can."""
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
    if len(common) < max(2, spec.seeds):
        counts = " and ".join(
            f"{group} for {len(side)}"
            for group, side in zip(hypothesis.groups, sides, strict=True)
        )
        return f"Arms are missing: of {spec.seeds} seeds, all layers were measured with {counts}."
    records = [record for side in sides for record in side.values()]
    if weak := caveats.too_little_to_lose(records, spec):
        return weak
    if hypothesis.groups == ("bias",):
        shifts = [record.bias_shift for record in records]
        if None in shifts:
            return "The networks have no biases."
        if np.median(shifts) < UNMOVED:
            return (
                "The biases hardly moved: donor and recipient differ by a median of "
                f"{np.median(shifts):.2g} standard deviations of the channel, under {UNMOVED:g}"
                f"{_movers(records)}."
            )
    for group, side in zip(hypothesis.groups, sides, strict=True):
        if not any(record.changed for record in side.values()):
            return f"Donor and recipient have the same values in the group {group}."
    return ""


def _movers(records: Iterable[Record]) -> str:
    """Where most biases stand still, the few that do not make what effect there is."""
    share = np.mean([record.bias_moved or 0.0 for record in records])
    return f"; only {share:.1%} differ by that or more" if share > 0 else ""


def _compare(
    hypothesis: Hypothesis, effect: intervals.Interval, threshold: float
) -> tuple[str, str]:
    """The verdict and its reason: on which side of the threshold the whole interval lies."""
    # The threshold itself supports, except where it means "no difference".
    above = effect.low > threshold or (
        effect.low == threshold and hypothesis.above and not hypothesis.difference
    )
    below = effect.high < threshold or (
        effect.high == threshold and not hypothesis.above
    )
    told = f"interval of {hypothesis.quantity} lies"
    if effect.low == effect.high == threshold and hypothesis.difference:
        told = f"{hypothesis.quantity} is {threshold:g} for every seed."
        return "inconclusive", told[0].upper() + told[1:]
    if not above and not below:
        return "inconclusive", f"The {told} on both sides of {threshold:g}."
    side = "above" if above else "below"
    return (
        "supported" if above == hypothesis.above else "refuted",
        f"The whole {told} {side} {threshold:g}.",
    )


def _with_elsewhere(found: list[Verdict]) -> list[Verdict]:
    """The verdicts; where H4 cannot be tested, with a note that says for which networks it can."""
    told = []
    for verdict in found:
        others = [
            f"{one.part}: {one.verdict}"
            for one in found
            if one.hypothesis == verdict.hypothesis == "H4"
            and one.verdict != "not testable"
            and one.direction == verdict.direction
        ]
        if verdict.verdict == "not testable" and others:
            note = f"Tested where biases matter: {'; '.join(others)}."
            verdict = dataclasses.replace(verdict, notes=(*verdict.notes, note))
        told.append(verdict)
    return told


def _with_holm(found: list[Verdict], spec: specs.StudySpec) -> list[Verdict]:
    """The verdicts with Holm's p, and a note that says what the correction takes away."""
    family = [verdict.p for verdict in found if verdict.p is not None]
    adjusted, level = iter(intervals.holm(family)), 1 - spec.confidence
    told = []
    for verdict in found:
        if verdict.p is not None:
            p = next(adjusted)
            note = f"p = {verdict.p:.2g}; {p:.2g} after Holm's correction for {len(family)} tests"
            if verdict.p < level <= p:
                note += f", no longer below {level:.2g}: read it as exploratory"
            verdict = dataclasses.replace(
                verdict, p_holm=p, notes=(*verdict.notes, f"{note}.")
            )
        told.append(verdict)
    return told
