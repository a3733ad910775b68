"""Records of a study, one per arm, with the counts of every test image.

    with records.Log("runs/study/records.jsonl") as log:  # one writer at a time
        done = {record.key for record in log.records}
        log.append(record, per_image)  # survives a kill once it returns
    records.read("runs/study/records.jsonl")

    with records.CountsReader("runs/study/records.jsonl") as counts:
        per_image = counts.read(record)  # int64 [N, C, C] or float64 [N, 2]

    with records.LabelLog("runs/study/labels.jsonl") as log: ...  # label curves, likewise

`records.jsonl` holds one JSON object per line. `counts.bin`, beside it, holds the counts of every
image in blocks; `Record.per_image` is the extent of the arm's block.

**Durability.** `append` writes the block, then the line. Once the operating system has both, a
kill of the process (-9, out of memory) does not lose them. A kill in between leaves half a line,
or a block without a line: opening the log truncates both, and the arm is measured again.
A power cut also loses data that was not yet on the disk. An fsync of both files per record would
take 0.4 ms (idle disk) to 5 ms (shared disk), measured on an SSD, and more on a spinning disk or
over a network. So the log syncs, counts first, at the first record after one second, at the
latest every 256 records, and on closing; a power cut loses the arms since then.
After a power cut the disk may have a line without its block: among the last 256 records, the
first whose block is damaged and all after it count as unfinished. Damage elsewhere is an error;
records are never dropped silently.
"""

from tfreuse.records.counts import CountsReader, counts_path, read_counts
from tfreuse.records.labels import LabelLog, LabelRecord, read_labels
from tfreuse.records.log import Log, read
from tfreuse.records.record import UNMOVED, Record, age_key

__all__ = [
    "UNMOVED",
    "CountsReader",
    "LabelLog",
    "LabelRecord",
    "Log",
    "Record",
    "age_key",
    "counts_path",
    "read",
    "read_counts",
    "read_labels",
]
