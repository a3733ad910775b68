"""What would make a study's verdicts worthless, looked up in its records."""

from collections import Counter
from typing import Any

from tfreuse.analysis import intervals
from tfreuse.analysis.arms import LINKS, Arm, Arms, Part, at_all_layers
from tfreuse.report.source import SHOWN, Source, named

UNUSED = 0.01  # R2 lost to a re-initialised bottleneck, below which nothing uses it
Cells = tuple[tuple[str, ...], ...]


def missing(source: Source) -> list[str]:
    """What the study declares and its records do not hold yet, a sentence each."""
    told = []
    for part, arms in source.parts.items():
        seeds = sorted({seed for found in arms.values() for seed in found})
        if source.records and len(seeds) < source.spec.seeds:
            told.append(
                f"{part}: {len(seeds)} of {source.spec.seeds} seeds have records."
            )
        gaps = Counter(
            seed for found in arms.values() for seed in seeds if seed not in found
        )
        for seed, count in sorted(gaps.items()):
            told.append(
                f"{part}: seed {seed} lacks {count} of {len(arms)} arms "
                "that another seed has."
            )
    if told:
        told.append(
            "Run the study again with the same --out_dir: it goes on where it was."
        )
    return told


def rows(source: Source) -> Cells:
    """One check a row: its name, its result, and what that means."""
    if not source.records:
        return ()
    found = [_self_transplants(source)]
    for part, arms in source.parts.items():
        if part.direction.endswith("-to-autoencoder"):
            found.append(_bottleneck(source, part, arms))
    found.append(_above_floor(source))
    found.append(_one_study(source))
    if source.failed or source.again:
        found.append(_units(source))
    return tuple(found)


def _self_transplants(source: Source) -> tuple[str, str, str]:
    name = "self-transplant changes nothing"
    own = [r for r in source.records if r.control == "self" and r.repair == "none"]
    if not own:
        return (
            name,
            "not measured",
            "Nothing shows that the transplant itself is exact.",
        )
    wrong = [r for r in own if r.after != r.before]
    if not wrong:
        meaning = (
            "The recipient's own values were put back with the metric equal to the bit."
        )
        return name, f"passed: {len(own)} of {len(own)} exact", meaning
    worst = max(wrong, key=lambda r: abs(r.after - r.before))
    meaning = (
        f"Largest difference {abs(worst.after - worst.before):.2g} ({worst.group}, seed "
        f"{worst.seed}): the transplant or the evaluation is not exact, and no figure here can "
        "be trusted below that size."
    )
    return name, f"FAILED: {len(wrong)} of {len(own)} differ", meaning


def _bottleneck(source: Source, part: Part, arms: Arms) -> tuple[str, str, str]:
    """Whether an auto-encoder needs its deepest stage, or copies the image past it."""
    name = f"{part.architecture} auto-encoder uses its bottleneck"
    name += LINKS.get(part.link, "")
    records = arms.get(Arm("reinitialised", "stage", "bottleneck", "all"), {})
    if not records:
        return (
            name,
            "not measured",
            "Deep layers may look reusable because nothing uses them.",
        )
    lost = intervals.mean_interval(
        [r.before - max(r.after, r.floor) for r in records.values()],
        source.spec.confidence,
    )
    told = f"re-initialised, it costs {lost} R2, n = {lost.n}"
    if lost.estimate < UNUSED:
        meaning = (
            "Deep layers look reusable because nothing uses them: the image passes through the "
            "skips. Repeat with --noskips before believing reuse in deep layers."
        )
        return name, f"AMBIENT: {told}", meaning
    return (
        name,
        f"passed: {told}",
        "Retention in deep layers is about something in use.",
    )


def _above_floor(source: Source) -> tuple[str, str, str]:
    name = "recipients are trained"
    weakest = min(source.records, key=lambda r: r.before - r.floor)
    above = weakest.before - weakest.floor
    told = (
        f"weakest: {intervals.number(above)} of {weakest.metric} above its floor "
        f"({weakest.recipient})"
    )
    if above < source.spec.minimum or above <= 0:
        return (
            name,
            f"FAILED: {told}",
            f"Under the declared minimum of {source.spec.minimum:g}: train for longer.",
        )
    return (
        name,
        f"passed: {told}",
        "There is something to lose, so retention means something.",
    )


def _one_study(source: Source) -> tuple[str, str, str]:
    name = "one study, one set of versions"
    studies = {r.study for r in source.records}
    versions = {tuple(sorted(r.versions.items())) for r in source.records}
    told = f"{len(studies)} study, {len(versions)} set of versions"
    if len(studies) == len(versions) == 1:
        return name, f"passed: {told}", "All records can be compared."
    return (
        name,
        f"FAILED: {len(studies)} studies, {len(versions)} sets of versions",
        "Records of different settings or software are mixed.",
    )


def _units(source: Source) -> tuple[str, str, str]:
    """Units of work that did not end the first time."""
    name = "units of work ended"
    again = named(source.again)
    told = f"{len(source.again)} begun again"
    if source.failed:
        failed = ", ".join(unit for unit, _, _ in source.failed[:SHOWN])
        return (
            name,
            f"FAILED: {len(source.failed)} failed, {told}",
            f"Missing in all that is told here: {failed}. {again}",
        )
    return (
        name,
        f"passed: {told}",
        f"No record was lost or made twice. {again}",
    )


def bias_shifts(source: Source) -> Cells:
    """Median bias difference of each seed, for each part of the study that has biases."""
    found = []
    for part, arms in source.parts.items():
        records = at_all_layers(arms, "bias")
        shifts = [
            f"{record.bias_shift:.2g} (seed {seed})"
            for seed, record in sorted(records.items())
            if record.bias_shift is not None
        ]
        if shifts:
            found.append((str(part), ", ".join(shifts)))
    return tuple(found)


def networks(source: Source) -> Cells:
    """The trained networks by name."""
    found = []
    for name, told in sorted(source.networks.items()):
        also = [
            f"{key} {told[key]:.3g}"
            for key in ("pixel_accuracy", "psnr", "ssim")
            if told.get(key) is not None
        ]
        parameters, seconds = told.get("parameters"), told.get("seconds")
        found.append(
            (
                name,
                told.get("metric", "–"),
                _figure(_value(told)),
                _figure(told.get("floor")),
                ", ".join(also) or "–",
                "–" if parameters is None else f"{parameters:,}",
                "–" if seconds is None else f"{seconds:.0f}",
            )
        )
    return tuple(found)


def network_means(source: Source) -> str:
    """Mean and interval of each task's metric over its networks, as a sentence."""
    by_task: dict[str, list[float]] = {}
    for told in source.networks.values():
        if _value(told) is not None:
            name = f"{told.get('task', '')} {told.get('metric', '')}".strip()
            by_task.setdefault(name, []).append(_value(told))
    means = [
        f"{name} {found}, n = {found.n}"
        for name, values in sorted(by_task.items())
        for found in [intervals.mean_interval(values, source.spec.confidence)]
    ]
    return f"Mean over seeds: {'; '.join(means)}." if means else ""


def coverage(source: Source) -> Cells:
    """How much each group moves at the site of all layers, of the recipient's parameters."""
    found = []
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
            found.append(
                (
                    str(part),
                    group,
                    f"{min(r.variables for r in records):,}",
                    f"{moved:,}",
                    f"{min(r.changed for r in records):,}",
                    share,
                )
            )
    return tuple(found)


def _value(network: dict[str, Any]) -> float | None:
    """The network's metric: under the metric's own name, or under "value"."""
    return network.get(network.get("metric"), network.get("value"))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
