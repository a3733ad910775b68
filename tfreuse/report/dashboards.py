"""A study in TensorBoard's own dashboards: arms overlaid, its settings, its methods.

    dashboards.write(out_dir)   # out_dir/tensorboard/study/

Custom scalars overlay what each control and repair retains along the network, a chart a part,
kind of site and group; Text has the settings and the methods. Written without TensorFlow.
"""

import json
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from tfreuse import specs
from tfreuse.analysis.arms import unclipped_retentions
from tfreuse.report import markdown, methods, source, tensorboard
from tfreuse.report.source import Source

KINDS = ("stage", "layer", "prefix", "suffix")  # sites that stand in a row
MOST_CHARTS = 100
MOST_LINES = 40  # of one chart


def write(out_dir: str | os.PathLike) -> None:
    """Writes the study's own run below `tensorboard/`, in place of an earlier one.

    Raises:
        InputError: the directory holds no study, or a file of it cannot be read.
    """
    study = source.load(pathlib.Path(out_dir))
    found = list(_charts(study))[:MOST_CHARTS]
    events = [(0, _layout(found)), (0, _texts(study))]
    for _, _, lines in found:
        events += [
            event for tag, points in lines.items() for event in _line(tag, points)
        ]
    path = study.path / "tensorboard" / "study" / "events.out.tfevents.study"
    tensorboard.write_events(path, events)


_Points = dict[int, float]  # place along the network -> mean retention over seeds
_Chart = tuple[str, str, dict[str, _Points]]  # category, title, points by tag


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
        for kind, group in sorted(lines, key=lambda one: _place(study.spec, *one)):
            if group in study.spec.groups:
                yield str(part), f"{group}, {kind} by {kind}", lines[kind, group]


def _place(spec: specs.StudySpec, kind: str, group: str) -> tuple[int, int]:
    groups = (*spec.groups, group)
    return KINDS.index(kind), groups.index(group)


def _layout(charts: list[_Chart]):
    """Which lines stand in which chart, as the custom scalars plugin reads it."""
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    layout = layout_pb2.Layout()
    for category in dict.fromkeys(category for category, _, _ in charts):
        made = layout.category.add(title=category)
        for _, title, lines in (one for one in charts if one[0] == category):
            tags = [f"^{re.escape(tag)}$" for tag in lines]
            content = layout_pb2.MultilineChartContent(tag=tags)
            made.chart.add(title=title, multiline=content)
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
        about = metadata.create_summary_metadata(name, "")
        made = _summary(name, about, text.encode())
        summary = summary or type(made)()
        summary.MergeFrom(made)
    return summary


def _line(tag: str, points: _Points) -> Iterator[tuple[int, object]]:
    from tensorboard.compat.proto.summary_pb2 import Summary

    for depth, value in sorted(points.items()):
        yield depth, Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def _summary(tag: str, about, content: bytes):
    """A summary of one string."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    tensor = TensorProto(dtype=DT_STRING, string_val=[content])
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=tensor)])
