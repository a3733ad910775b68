"""Writes a study for TensorBoard's own dashboards, without TensorFlow.

    note = tensorboard.write_arms(out_dir / "tensorboard" / "arms", records)  # hparams: a row per arm
    tensorboard.write_study(out_dir)  # custom scalars and text, in out_dir/tensorboard/study/

HParams takes a run for a row, so each arm is a folder with one event file. An existing file is
left alone: its arm has not changed. TensorBoard reads every run into memory before it shows the
first, a minute and over 1 GB for 10^4 rows, so there are at most LIMIT. Custom scalars overlay the
retention of each control and repair along the network, in a chart per part, kind of site and group.
"""

import json
import math
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from tfreuse import files, specs
from tfreuse.analysis.arms import unclipped_retentions
from tfreuse.records import Record
from tfreuse.report import markdown, methods, source
from tfreuse.report.source import Source

FACTORS = (
    "architecture", "direction", "seed", "control", "site_kind", "site", "depth", "group",
    "repair",
)  # fmt: skip
LIMIT = 2_000  # rows
METRICS = ("retention", "drop", "before", "after", "rmse")
KINDS = ("stage", "layer", "prefix", "suffix")  # sites with an order along the network
MOST_CHARTS = 100
MOST_LINES = 40  # of one chart
# HParams needs a time for each row; a fixed one makes equal studies give equal files.
_STARTED = 1_600_000_000.0

_Points = dict[int, float]  # depth along the network -> mean retention over seeds
_Chart = tuple[str, str, dict[str, _Points]]  # category, title, points by tag


def write_arms(log_dir: pathlib.Path, records: Sequence[Record]) -> str:
    """Writes the table's columns, and a row for every chosen record that has none yet.

    Only finished donors have rows, since no column holds the age.

    Args:
        log_dir: folder of the rows, below TensorBoard's `--logdir`.
        records: the arms; of more than LIMIT, those of all layers take precedence, then those
            of stages, then the others in their order.

    Returns:
        a note on arms left out; "" if all have a row.
    """
    from tensorboard.plugins.hparams import summary_v2  # slow to import

    records = [record for record in records if record.updates is None]
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
    """Names the arm's folder: readable words safe for a path, and a digest for uniqueness."""
    words = (record.recipient, record.site, record.group, record.control, record.repair)
    readable = "_".join(re.sub(r"[^A-Za-z0-9-]+", "-", word)[:40] for word in words)
    return f"{readable}_{files.digest(record.key)[:8]}"


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
    return [(0, start), (0, scalars), (0, _end_of_session(end))]


def _end_of_session(plugin_data):
    """Wraps the message of a finished session as the HParams plugin expects it."""
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
    """Writes (step, summary) pairs as one event file, atomically."""
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


def write_study(out_dir: str | os.PathLike) -> None:
    """Writes charts, settings and methods of the study, in place of an earlier version.

    Raises:
        InputError: the directory holds no study, or a file of it cannot be read.
    """
    study = source.load(pathlib.Path(out_dir))
    charts = list(_charts(study))[:MOST_CHARTS]
    events = [(0, _layout(charts)), (0, _texts(study))]
    for _, _, lines in charts:
        events += [
            event for tag, points in lines.items() for event in _line(tag, points)
        ]
    path = study.path / "tensorboard" / "study" / "events.out.tfevents.study"
    write_events(path, events)


def _charts(study: Source) -> Iterator[_Chart]:
    for part, arms in study.parts.items():
        lines: dict[tuple[str, str], dict[str, _Points]] = {}
        for arm, seeds in arms.items():
            values = unclipped_retentions(seeds)
            plain = arm.strength == 1.0 and not arm.draw
            if arm.site_kind in KINDS and plain and values:
                name = f"{part}/{arm.site_kind}/{arm.group}/{arm.control}, {arm.repair}"
                chart = lines.setdefault((arm.site_kind, arm.group), {})
                if name in chart or len(chart) < MOST_LINES:
                    depth = next(iter(seeds.values())).depth
                    mean = float(np.mean(list(values.values())))
                    chart.setdefault(name, {})[depth] = mean
        for kind, group in sorted(lines, key=lambda key: _rank(study.spec, *key)):
            if group in study.spec.groups:
                yield str(part), f"{group}, {kind} by {kind}", lines[kind, group]


def _rank(spec: specs.StudySpec, kind: str, group: str) -> tuple[int, int]:
    groups = (*spec.groups, group)
    return KINDS.index(kind), groups.index(group)


def _layout(charts: list[_Chart]):
    """Assigns lines to charts in the form that the custom scalars plugin reads."""
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    layout = layout_pb2.Layout()
    for category in dict.fromkeys(category for category, _, _ in charts):
        section = layout.category.add(title=category)
        for _, title, lines in (chart for chart in charts if chart[0] == category):
            tags = [f"^{re.escape(tag)}$" for tag in lines]
            content = layout_pb2.MultilineChartContent(tag=tags)
            section.chart.add(title=title, multiline=content)
    return _summary(
        metadata.CONFIG_SUMMARY_TAG,
        metadata.create_summary_metadata(),
        layout.SerializeToString(),
    )


def _texts(study: Source):
    from tensorboard.plugins.text import metadata

    settings = json.dumps(study.specs, indent=2, sort_keys=True)
    texts = {
        "settings": "\n".join(f"    {line}" for line in settings.splitlines()),
        "methods": "\n\n".join(map(markdown.escape, methods.paragraphs(study))),
    }
    summary = None
    for name, text in texts.items():
        kind = metadata.create_summary_metadata(name, "")
        entry = _summary(name, kind, text.encode())
        summary = summary or type(entry)()
        summary.MergeFrom(entry)
    return summary


def _line(tag: str, points: _Points) -> Iterator[tuple[int, object]]:
    from tensorboard.compat.proto.summary_pb2 import Summary

    for depth, value in sorted(points.items()):
        yield depth, Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def _summary(tag: str, kind, content: bytes):
    """Returns a summary of one string."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    tensor = TensorProto(dtype=DT_STRING, string_val=[content])
    return Summary(value=[Summary.Value(tag=tag, metadata=kind, tensor=tensor)])
