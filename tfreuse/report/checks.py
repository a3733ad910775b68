"""Checks the records of a study for faults that would make its verdicts worthless."""

import re
from collections import Counter
from typing import Any

from tfreuse.analysis import caveats, intervals
from tfreuse.analysis.arms import LINKS, Arm, Arms, Part, at_all_layers
from tfreuse.report.source import SHOWN, Source, listed

UNUSED = 0.01  # R2 lost to a re-initialised bottleneck, below which nothing uses it
# The number in segmentation-0, masked-width-16-0, autoencoder-0-as-segmentation-twin (study.blocks).
_SEED = re.compile(r"-\d+(?=(-[a-z_]+)*$)")
Cells = tuple[tuple[str, ...], ...]


def missing(source: Source) -> list[str]:
    """Lists declared arms that have no record yet, in sentences."""
    sentences = []
    for part, finished in source.parts.items():
        by_age = {None: finished, **source.ages(part)}
        arms = {(a, arm): r for a, arms in by_age.items() for arm, r in arms.items()}
        seeds = sorted({seed for by_seed in arms.values() for seed in by_seed})
        if source.records and len(seeds) < source.spec.seeds:
            sentences.append(
                f"{part}: {len(seeds)} of {source.spec.seeds} seeds have records."
            )
        gaps = Counter(
            seed for by_seed in arms.values() for seed in seeds if seed not in by_seed
        )
        for seed, count in sorted(gaps.items()):
            sentences.append(
                f"{part}: seed {seed} lacks {count} of {len(arms)} arms "
                "that another seed has."
            )
    if sentences:
        sentences.append(
            "Run the study again with the same --out_dir: it continues where it stopped."
        )
    return sentences


def rows(source: Source) -> Cells:
    """Returns one row per check: name, result, meaning."""
    if not source.records:
        return ()
    checks = [_self_transplants(source)]
    for part, arms in source.parts.items():
        if part.direction.endswith("-to-autoencoder"):
            checks.append(_bottleneck(source, part, arms))
    checks.append(_above_floor(source))
    checks.append(_one_study(source))
    if source.spec.retrials:
        checks.append(_retrials(source))
    if source.failed or source.retried:
        checks.append(_units(source))
    return tuple(checks)


def _self_transplants(source: Source) -> tuple[str, str, str]:
    name = "self-transplant changes nothing"
    selfs = [r for r in source.records if r.control == "self" and r.repair == "none"]
    if not selfs:
        return (
            name,
            "not measured",
            "Nothing shows that the transplant itself is exact.",
        )
    wrong = [r for r in selfs if r.after != r.before]
    if not wrong:
        meaning = "The recipient's own values were put back, and the metric is equal bit for bit."
        return name, f"passed: {len(selfs)} of {len(selfs)} exact", meaning
    worst = max(wrong, key=lambda r: abs(r.after - r.before))
    meaning = (
        f"Largest difference {abs(worst.after - worst.before):.2g} ({worst.group}, seed "
        f"{worst.seed}): the transplant or the evaluation is not exact, and no figure here can "
        "be trusted below that size."
    )
    return name, f"FAILED: {len(wrong)} of {len(selfs)} differ", meaning


def _bottleneck(source: Source, part: Part, arms: Arms) -> tuple[str, str, str]:
    """Checks that an auto-encoder uses its deepest stage instead of copying past it."""
    name = f"{part.architecture} auto-encoder uses its bottleneck"
    name += LINKS.get(part.link, "")
    records = arms.get(Arm("reinitialised", "stage", "bottleneck", "all"), {})
    if not records:
        return (
            name,
            "not measured",
            "Deep layers may look reusable because nothing uses them.",
        )
    loss = intervals.mean_interval(
        [r.before - max(r.after, r.floor) for r in records.values()],
        source.spec.confidence,
    )
    metric = next(iter(records.values())).metric
    cost = f"re-initialised, it costs {loss} of {metric}, n = {loss.n}"
    if loss.estimate < UNUSED:
        meaning = (
            "Deep layers look reusable because nothing uses them: the image passes through the "
            "skips. Repeat with --noskips before believing reuse in deep layers."
        )
        return name, f"AMBIENT: {cost}", meaning
    return (
        name,
        f"passed: {cost}",
        "Retention in deep layers is measured on layers that the network uses.",
    )


def _retrials(source: Source) -> tuple[str, str, str]:
    """Lists the networks that were trained again, and how far above the floor each time."""
    again = {
        name: facts["trainings"]
        for name, facts in sorted(source.networks.items())
        if facts.get("trainings")
    }
    rule = (
        f"Declared before: a network less than {source.spec.minimum:g} above its floor in "
        f"validation is trained again, up to {source.spec.retrials} times, from the same initial "
        "values with another order of images."
    )
    texts = [
        f"{name}: {', then '.join(map(intervals.number, above))} above its floor"
        for name, above in again.items()
    ]
    count = f"{len(again)} of {len(source.networks)} networks"
    return "failed trainings", count, " ".join([rule, *(f"{text}." for text in texts)])


def _above_floor(source: Source) -> tuple[str, str, str]:
    name = "recipients are trained"
    weakest = min(source.records, key=lambda r: r.before - r.floor)
    above = weakest.before - weakest.floor
    margin = (
        f"weakest: {intervals.number(above)} of {weakest.metric} above its floor "
        f"({weakest.recipient})"
    )
    if untrained := caveats.untrained(source.records, source.spec):
        return name, f"FAILED: {margin}", untrained
    return (
        name,
        f"passed: {margin}",
        "Each recipient has learnt enough for retention to be meaningful.",
    )


def _one_study(source: Source) -> tuple[str, str, str]:
    name = "one study, one set of versions"
    studies = {r.study for r in source.records}
    versions = {tuple(sorted(r.versions.items())) for r in source.records}
    counts = f"{len(studies)} study, {len(versions)} set of versions"
    if len(studies) == len(versions) == 1:
        return name, f"passed: {counts}", "All records can be compared."
    return (
        name,
        f"FAILED: {len(studies)} studies, {len(versions)} sets of versions",
        "Records of different settings or software are mixed.",
    )


def _units(source: Source) -> tuple[str, str, str]:
    """Checks that every unit of work finished; lists those that were retried."""
    name = "units of work ended"
    reasons = listed(source.retried)
    count = f"{len(source.retried)} begun again"
    if source.failed:
        failed = ", ".join(unit for unit, _, _ in source.failed[:SHOWN])
        return (
            name,
            f"FAILED: {len(source.failed)} failed, {count}",
            f"This report lacks their results: {failed}. {reasons}",
        )
    return name, f"passed: {count}", f"No record was lost or made twice. {reasons}"


def bias_shifts(source: Source) -> Cells:
    """Returns the median bias difference of each seed, a row per part that has biases."""
    rows = []
    for part, arms in source.parts.items():
        records = at_all_layers(arms, "bias")
        shifts = [
            f"{record.bias_shift:.2g} (seed {seed})"
            for seed, record in sorted(records.items())
            if record.bias_shift is not None
        ]
        if shifts:
            rows.append((str(part), ", ".join(shifts)))
    return tuple(rows)


def networks(source: Source) -> Cells:
    """Returns a row per trained network: metrics, parameters, seconds of training."""
    rows = []
    for name, facts in sorted(source.networks.items()):
        further = [
            f"{key} {facts[key]:.3g}"
            for key in ("pixel_accuracy", "psnr", "ssim")
            if facts.get(key) is not None
        ]
        parameters, seconds = facts.get("parameters"), facts.get("seconds")
        rows.append(
            (
                name,
                facts.get("metric", "–"),
                _three_decimals(_value(facts)),
                _three_decimals(facts.get("floor")),
                ", ".join(further) or "–",
                "–" if parameters is None else f"{parameters:,}",
                "–" if seconds is None else f"{seconds:.0f}",
            )
        )
    return tuple(rows)


def network_means(source: Source) -> str:
    """Describes the mean and interval of each kind's metric over its seeds."""
    by_kind: dict[str, list[float]] = {}
    for network, facts in source.networks.items():
        if _value(facts) is not None:
            name = f"{_SEED.sub('', network)} {facts.get('metric', '')}".strip()
            by_kind.setdefault(name, []).append(_value(facts))
    means = [
        f"{name} {mean}, n = {mean.n}"
        for name, values in sorted(by_kind.items())
        for mean in [intervals.mean_interval(values, source.spec.confidence)]
    ]
    return f"Mean over seeds: {'; '.join(means)}." if means else ""


def coverage(source: Source) -> Cells:
    """Returns the share of the recipient's parameters that each group moves at all layers."""
    rows = []
    for part, arms in source.parts.items():
        for group in source.spec.groups:
            records = at_all_layers(arms, group).values()
            if not records:
                continue
            totals = [
                source.networks.get(r.recipient, {}).get("parameters") for r in records
            ]
            moved = min(r.parameters for r in records)
            share = f"{moved / max(totals):.1%}" if all(totals) else "–"
            rows.append(
                (
                    str(part),
                    group,
                    f"{min(r.variables for r in records):,}",
                    f"{moved:,}",
                    f"{min(r.changed for r in records):,}",
                    share,
                )
            )
    return tuple(rows)


def _value(network: dict[str, Any]) -> float | None:
    """Returns the network's metric, stored under its own name or under "value"."""
    return network.get(network.get("metric"), network.get("value"))


def _three_decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
