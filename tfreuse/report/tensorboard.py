"""One row an arm in TensorBoard's hparams view, written without TensorFlow.

    note = hparams.write(out_dir / "tensorboard" / "arms", records)
    if note:
        print(note)

TensorBoard takes a run for a row, so each arm is a folder with one event file. A file that is
there already is left alone: its arm has not changed. TensorBoard reads every run into memory
before it shows one, which makes 10^4 rows a minute and over 1 GB: there are at most LIMIT.
"""

import math
import pathlib
import re
from collections.abc import Sequence

from tfreuse import files
from tfreuse.records import Record

FACTORS = (
    "architecture", "direction", "seed", "control", "site_kind", "site", "depth", "group",
    "repair",
)  # fmt: skip
LIMIT = 2_000  # rows
METRICS = ("retention", "drop", "before", "after", "rmse")
_STARTED = 1_600_000_000.0  # rows need a time; a fixed one keeps the files reproducible


def write(log_dir: pathlib.Path, records: Sequence[Record]) -> str:
    """Writes a row for every chosen record that has none, and the table's columns.

    Args:
        log_dir: folder of the rows, below the one that TensorBoard is started on.
        records: the arms; of more than LIMIT those of all layers come first, then those of
            stages, the others in their order.

    Returns:
        a line that tells which arms have no row; "" if all have one.
    """
    from tensorboard.plugins.hparams import summary_v2  # slow to import

    arms, records = len(records), _chosen(records)
    values = {
        name: sorted({getattr(record, name) for record in records}) for name in FACTORS
    }
    columns = summary_v2.hparams_config_pb(
        hparams=[_column(summary_v2, name, values[name]) for name in FACTORS],
        metrics=[summary_v2.Metric(name, display_name=name) for name in METRICS],
    )
    write_events(log_dir / "events.out.tfevents.columns", [(0, columns)])
    for record in records:
        name = _name(record)
        path = log_dir / name / "events.out.tfevents.arm"
        if not path.exists():
            write_events(path, _row(summary_v2, record, name))
    if arms == len(records):
        return ""
    return (
        f"TensorBoard shows {len(records):,} of {arms:,} arms, all layers first, then stages; "
        "records.jsonl and the report have them all."
    )


def _chosen(records: Sequence[Record]) -> Sequence[Record]:
    """At most LIMIT records, the widest sites first."""
    if len(records) <= LIMIT:
        return records
    rank = {"all": 0, "stage": 1}
    return sorted(records, key=lambda record: rank.get(record.site_kind, 2))[:LIMIT]


def _name(record: Record) -> str:
    """What a person reads of the arm, made safe for a path, and a digest that tells arms apart."""
    words = (record.recipient, record.site, record.group, record.control, record.repair)
    read = "_".join(re.sub(r"[^A-Za-z0-9-]+", "-", word)[:40] for word in words)
    return f"{read}_{files.digest(record.key)[:8]}"


def _column(summary, name: str, values: list):
    kind = summary.Discrete(values) if len(values) <= 64 else None
    return summary.HParam(name, kind)


def _row(summary, record: Record, name: str) -> list:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import plugin_data_pb2

    factors = {factor: getattr(record, factor) for factor in FACTORS}
    start = summary.hparams_pb(factors, trial_id=name, start_time_secs=_STARTED)
    scalars = Summary()
    for metric in METRICS:
        value = getattr(record, metric)
        if not math.isnan(value):  # retention at the floor
            scalars.value.add(tag=metric, simple_value=value)
    end = plugin_data_pb2.HParamsPluginData(
        session_end_info=plugin_data_pb2.SessionEndInfo(
            status=1,  # STATUS_SUCCESS
            end_time_secs=_STARTED + record.seconds,
        )
    )
    return [(0, start), (0, scalars), (0, _summary(end))]


def _summary(plugin_data):
    """The hparams message as a summary, the way the plugin reads it."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    return Summary(
        value=[
            Summary.Value(
                tag=metadata.SESSION_END_INFO_TAG,
                metadata=metadata.create_summary_metadata(plugin_data),
                tensor=metadata.NULL_TENSOR,
            )
        ]
    )


def write_events(path: pathlib.Path, steps_and_summaries: list) -> None:
    """Writes (step, summary) pairs as one event file, at once or not at all."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    replaced = files.replacing(path, durable=False)
    with replaced as temporary, open(temporary, "wb") as file:
        writer = RecordWriter(file)
        version = Event(wall_time=_STARTED, file_version="brain.Event:2")
        writer.write(version.SerializeToString())
        for step, summary in steps_and_summaries:
            event = Event(wall_time=_STARTED, step=step, summary=summary)
            writer.write(event.SerializeToString())
        writer.flush()
