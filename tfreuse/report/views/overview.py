"""The first look at a study: how far it is, its parts, the answers and the verdicts."""

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
    """Everything above the fold, for every part at once.

    Args:
        name: of the study.
        snapshot: of it.
        failure: why a newer snapshot could not be made, a sentence.
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
    """How much is measured of what is planned; the plan is known once a block is whole."""
    found, spec = snapshot.source, snapshot.source.spec
    finished = found.measured
    finished = finished if isinstance(finished, dict) else {}
    counts = [count for count in finished.values() if isinstance(count, int)]
    blocks = spec.seeds * len(spec.links) * len(spec.directions)
    blocks *= max(1, len(spec.architectures))
    measured = len(found.records)
    complete = bool(found.networks)
    planned = measured if complete else None
    if counts and not complete:
        planned = max(measured, round(blocks * sum(counts) / len(counts)))
    left = None if complete or not rate or not planned else (planned - measured) / rate
    return {
        "measured": measured,
        "fits": len(found.labels),  # of label curves
        "planned": planned,
        "blocks": blocks,
        "finished": blocks if complete else min(blocks, len(counts)),
        "complete": complete,
        "left": left,
    }


def lasting(snapshot: Snapshot) -> dict[str, Any]:
    """What stays as it is as long as the files do."""
    return snapshot.keep(("study",), lambda: _lasting(snapshot))


def _lasting(snapshot: Snapshot) -> dict[str, Any]:
    found = snapshot.source
    data = found.specs.get("data", {})
    return {
        "parts": [part(snapshot, one) for one in snapshot.parts],
        "verdicts": [
            one.to_json() | {"part": place, "card": cards.card(one)}
            for place, own in enumerate(snapshot.parts)
            for one in snapshot.verdicts
            if one.part == own
        ],
        "warnings": snapshot.warnings[:MOST_NOTES],
        "settings": answers.margins(found.spec)
        | {
            "margin": found.spec.margin,
            "confidence": found.spec.confidence,
            "seeds": found.spec.seeds,
            "groups": list(found.spec.groups),
            "data": f"{data.get('dataset', '')} "
            + "×".join(map(str, data.get("image_size", ()))),
        },
    }


def part(snapshot: Snapshot, one: Part) -> dict[str, Any]:
    """What there is to choose from in one part, and its answers."""
    subject = snapshot.subjects[one]
    plain = [arm for arm in subject.arms if arm.control == "transfer"]
    kinds = {arm.site_kind for arm in plain}
    repairs = Counter(arm.repair for arm in plain)
    seeds = sorted(set(itertools.chain.from_iterable(subject.arms.values())))
    records = itertools.chain.from_iterable(
        found.values() for found in subject.arms.values()
    )
    found = answers.answers(subject)
    return {
        **one._asdict(),
        "title": str(one),
        "kinds": [kind for kind in KINDS if kind in kinds],
        "repairs": [name for name in snapshot.source.spec.repairs if repairs[name]],
        "seeds": seeds,
        "metric": next((record.metric for record in records), ""),
        "answers": found,
        "axis": answers.axis(),
        "headline": answers.headline(found) if subject.arms else "",
    }
