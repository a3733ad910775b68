"""What one arm gave: a record; and where a study keeps its records and what they counted.

    with records.Log("runs/study/records.jsonl") as log:  # one writer at a time
        done = {record.key for record in log.records}
        log.append(record, per_image)  # survives a kill once it returns
    records.read("runs/study/records.jsonl")

    with records.CountsReader("runs/study/records.jsonl") as counts:
        per_image = counts.read(record)  # int64 [N, C, C] or float64 [N, 2]

    with records.LabelLog("runs/study/labels.jsonl") as log: ...  # of label curves, likewise

`records.jsonl` holds one JSON object a line. `counts.bin`, beside it, holds each arm's counts of
every image, in blocks that `Record.per_image` points to; it is there if a record does so.

**What survives what.** `append` first hands the block to the operating system, then the line.
What the operating system has, a kill of the process (-9, out of memory) does not take. A kill
in between leaves half a line, or a block that no line points to: opening the log cuts both off,
and the arm, which was not finished, is measured again.
A power cut also takes what was not yet on the disk. Waiting for the disk twice for every record
takes from 0.4 ms (quiet) to 5 ms (shared) on the disk that it was measured on, and more on one
that spins or is a network's. So the log waits, for the blocks first, at the first record after a
second, at the latest every 256 records, and when it is closed; a power cut takes the arms since.
The disk may have kept a line without its block: among the last 256 records, the first whose
block is not whole and all after it count as not finished. Damage anywhere else is an error,
never dropped.
"""

from tfreuse.records.counts import CountsReader, counts_path, read_counts
from tfreuse.records.labels import LabelLog, LabelRecord, read_labels
from tfreuse.records.log import Log, read
from tfreuse.records.record import UNMOVED, Record

__all__ = [
    "UNMOVED",
    "CountsReader",
    "LabelLog",
    "LabelRecord",
    "Log",
    "Record",
    "counts_path",
    "read",
    "read_counts",
    "read_labels",
]
