"""The outcome of a study: the groups of parameters that can be reused.

groups = reusable(records.read(path), specs)   # ("affine", "stats")
"""

import pathlib
from collections.abc import Sequence

from tfreuse import files
from tfreuse.records import Record
from tfreuse.study.design import Block, Specs


def deciding(specs: Specs) -> list[Block]:
    """Returns the blocks whose records decide which groups are reusable: all seeds of the first."""
    blocks = specs.blocks()
    return [block for block in blocks if block.owner[:-1] == blocks[0].owner[:-1]]


def reusable(records: Sequence[Record], specs: Specs) -> tuple[str, ...]:
    """Lists the groups that lose at most the margin at all layers after recalibration.

    Every seed must retain 1 - margin. That is a choice for one model and no verdict, which would
    take many more seeds (`tfreuse.analysis.bounded.fewest`). Only the architecture, direction and
    link of the study's first block count (`deciding`): its recipient is the exported model.
    """
    if not specs.blocks():
        return ()
    part = specs.blocks()[0].owner[:-1]  # without the seed
    recalibrated = [
        record
        for record in records
        if record.key[:3] == part
        and (record.site_kind, record.control) == ("all", "transfer")
        and (record.repair, record.strength, record.updates)
        == ("recalibration", 1.0, None)
        and record.before - record.floor >= specs.study.minimum
    ]
    groups = []
    for group in specs.study.groups:
        retentions = [r.retention for r in recalibrated if r.group == group]
        complete = len(retentions) == specs.study.seeds
        if complete and min(retentions) >= 1 - specs.study.margin:
            groups.append(group)
    return tuple(groups)


def exported(out_dir: pathlib.Path) -> tuple[str, ...] | None:
    """Reads the groups that the exported model was transplanted with; None without a model."""
    notes = out_dir / "savedmodel" / "1" / "assets.extra" / "tfreuse.json"
    if not notes.exists():
        return None
    return tuple(files.read_json(notes)["notes"]["groups"])
