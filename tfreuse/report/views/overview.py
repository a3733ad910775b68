"""The overview of a study: its progress, its parts, their answers and the verdicts."""

import itertools
from collections import Counter
from typing import Any

from tfreuse.analysis.arms import Part
from tfreuse.report import cards
from tfreuse.report.views import answers
from tfreuse.report.views.snapshot import Snapshot

KINDS = ("all", "stage", "layer", "leave_one_out", "prefix", "suffix")
MOST_NOTES = 50


def study(
    name: str,
    snapshot: Snapshot,
    failure: str = "",
    rate: float | None = None,
    last_record: float | None = None,
) -> dict[str, Any]:
    """Returns the overview, of every part at once.

    Args:
        name: of the study.
        snapshot: of the study.
        failure: a sentence on why no newer snapshot could be taken.
        rate: records a second of late, if it was watched.
        last_record: seconds since the records were last written, if it is watched.
    """
    return {
        "state": "ready",
        "name": name,
        "version": snapshot.version,
        "failure": failure,
        "progress": progress(snapshot, rate) | {"last_record": last_record},
        **lasting(snapshot),
    }


def progress(snapshot: Snapshot, rate: float | None) -> dict[str, Any]:
    """Returns the progress of a study; its number of arms is known once a block is complete.

    Args:
        snapshot: of the study.
        rate: records a second of late; None if unknown.
    """
    study, spec = snapshot.source, snapshot.source.spec
    finished = study.measured if isinstance(study.measured, dict) else {}
    counts = [count for count in finished.values() if isinstance(count, int)]
    blocks = spec.seeds * len(spec.links) * len(spec.directions)
    blocks *= max(1, len(spec.architectures))
    measured = len(study.records)
    complete = study.complete
    planned = measured if complete else None
    if counts and not complete:
        planned = max(measured, round(blocks * sum(counts) / len(counts)))
    seconds = None
    if rate and planned and not complete:
        seconds = (planned - measured) / rate
    return {
        "measured": measured,
        "fits": len(study.labels),  # of label curves
        "planned": planned,
        "blocks": blocks,
        "finished": blocks if complete else min(blocks, len(counts)),
        "complete": complete,
        "left": seconds,
    }


def lasting(snapshot: Snapshot) -> dict[str, Any]:
    """Returns the part of the answer that changes only with the study's files."""
    return snapshot.keep(("study",), lambda: _lasting(snapshot))


def _lasting(snapshot: Snapshot) -> dict[str, Any]:
    spec = snapshot.source.spec
    data = snapshot.source.specs.get("data", {})
    return {
        "parts": [part(snapshot, of_study) for of_study in snapshot.parts],
        "verdicts": [
            verdict.to_json() | {"part": number, "card": cards.card(verdict)}
            for number, of_study in enumerate(snapshot.parts)
            for verdict in snapshot.verdicts
            if verdict.part == of_study
        ],
        "warnings": snapshot.warnings[:MOST_NOTES],
        "settings": answers.margins(spec)
        | {
            "margin": spec.margin,
            "confidence": spec.confidence,
            "seeds": spec.seeds,
            "groups": list(spec.groups),
            "data": f"{data.get('dataset', '')} "
            + "×".join(map(str, data.get("image_size", ()))),
        },
    }


def part(snapshot: Snapshot, of_study: Part) -> dict[str, Any]:
    """Returns the choices that a part of the study offers, and its answers."""
    subject = snapshot.subjects[of_study]
    transfers = [arm for arm in subject.arms if arm.control == "transfer"]
    kinds = {arm.site_kind for arm in transfers}
    repairs = Counter(arm.repair for arm in transfers)
    seeds = sorted(set(itertools.chain.from_iterable(subject.arms.values())))
    records = itertools.chain.from_iterable(
        by_seed.values() for by_seed in subject.arms.values()
    )
    rows = answers.answers(subject)
    return {
        **of_study._asdict(),
        "title": str(of_study),
        "kinds": [kind for kind in KINDS if kind in kinds],
        "repairs": [name for name in snapshot.source.spec.repairs if repairs[name]],
        "seeds": seeds,
        "metric": next((record.metric for record in records), ""),
        "answers": rows,
        "axis": answers.axis(),
        "headline": answers.headline(rows) if subject.arms else "",
    }
