"""Reads the files of a study directory that a report is made from, and checks them."""

import dataclasses
import functools
import os
import pathlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfreuse import files, records, specs
from tfreuse.analysis import channels, over_images, verdicts
from tfreuse.analysis.arms import Arms, Part, by_part
from tfreuse.errors import InputError, printable

SHOWN = 3  # units of work that a sentence lists by name
_FILES = "records.jsonl", "study.json", "labels.jsonl"
_TAIL = 1 << 16  # bytes at the end of a file whose checksum identifies its state
# The study that was read last, by its folder and the states of its files.
_LAST: dict[tuple, "Source"] = {}


@dataclasses.dataclass(frozen=True)
class Source:
    """The contents of a study directory, complete or not."""

    path: pathlib.Path  # of the directory
    records: tuple[records.Record, ...]
    spec: specs.StudySpec
    # "study", "data", "model", "train"; {} where study.json lacks them
    specs: dict[str, dict[str, Any]]
    versions: dict[str, str]
    networks: dict[str, dict[str, Any]]
    warnings: tuple[str, ...]  # missing files and settings, with the assumed defaults
    labels: tuple[records.LabelRecord, ...] = ()  # of the label curves
    recipes: dict[str, str] = dataclasses.field(default_factory=dict)  # name: effect
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)  # arms per block
    # architecture -> layer -> stage; {} where each layer's name begins with its stage's
    stages: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    # architecture -> pairs of stages that a connection past others joins
    skip_pairs: dict[str, frozenset[tuple[str, str]]] = dataclasses.field(
        default_factory=dict
    )
    # (name, reason, node) of units of work that failed, and of those that were retried
    failed: tuple[tuple[str, str, str], ...] = ()
    retried: tuple[tuple[str, str, str], ...] = ()
    directory: str = ""  # that the study was started in, if known
    complete: bool = False  # whether no unit of work is left to do

    @functools.cached_property
    def parts(self) -> dict[Part, Arms]:
        """The arms of every part of the study, parts without records yet included."""
        measured = by_part(self.records)
        parts = list(measured)
        if not parts and "architecture" in self.specs.get("model", {}):
            parts = [Part(self.specs["model"]["architecture"], "", "")]
        return {
            part: measured.get(part, {})
            for part in verdicts.declared_parts(parts, self.spec)
        }

    def ages(self, part: Part) -> dict[int, Arms]:
        """Returns the arms of donors that were kept along their training, by its updates."""
        return {
            updates: arms
            for updates in sorted(self.spec.donor_updates)
            if (arms := self._ages[updates].get(part))
        }

    @functools.cached_property
    def _ages(self) -> dict[int, dict[Part, Arms]]:
        updates = self.spec.donor_updates
        return {age: by_part(self.records, age) for age in updates}

    @property
    def steps(self) -> int:
        """The updates of a whole training."""
        return self.specs.get("train", {}).get("steps", specs.TrainSpec.steps)

    @functools.cached_property
    def channel_curves(self) -> dict[Part, channels.Curves]:
        """The curves of every part whose channels were moved one share after another."""
        return channels.by_part(self.records)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def digest(self) -> str:
        """SHA-256 of the study's specs; "" without records."""
        return next((record.study for record in (*self.records, *self.labels)), "")

    def verdicts(self) -> list[verdicts.Verdict]:
        """Judges the records; adds intervals over images where counts per image exist."""
        with records.CountsReader(self.path / "records.jsonl") as counts:
            read = counts.read if counts.size else None
            return verdicts.judge(self.records, self.spec, read)

    def counts(self) -> over_images.ReadCounts | None:
        """Returns a function that reads the counts of a record by image; None without a file."""
        path = self.path / "records.jsonl"
        if not records.counts_path(path).exists():
            return None
        return functools.partial(records.read_counts, path)

    def skips(self, part: Part) -> bool | frozenset[tuple[str, str]]:
        """Returns whether the part's networks have skip connections; of custom ones the pairs."""
        if part.architecture in self.skip_pairs:
            return self.skip_pairs[part.architecture]
        architecture, *options = part.architecture.split(":")
        skips = [option for option in options if option.startswith("skips=")]
        if skips:
            return skips[-1].lower() != "skips=false"
        model = self.specs.get("model", {})
        return architecture in specs.ARCHITECTURES and bool(model.get("skips", True))


def load(
    study_dir: pathlib.Path,
    arms: Sequence[records.Record] | None = None,
    curves: Sequence[records.LabelRecord] | None = None,
    report: Callable[[float], None] = lambda share: None,
) -> Source:
    """Reads `records.jsonl`, `labels.jsonl` and `study.json`.

    The last study is kept until its files change: its report, summary and charts follow each other.

    Args:
        study_dir: the study's directory.
        arms: the content of `records.jsonl`, if it has been read already.
        curves: the content of `labels.jsonl`, if it has been read already.
        report: called with the share of `records.jsonl` that is read.

    Raises:
        InputError: the directory holds no study, or a file cannot be read.
    """
    if arms is None and curves is None:
        states = tuple(_state(study_dir / name) for name in _FILES)
        study = _LAST.get((study_dir, states))
        if study is None:
            study = _read(study_dir, None, None, report)
            _LAST.clear()
            _LAST[study_dir, states] = study
        return study
    return _read(study_dir, arms, curves, report)


def _state(path: pathlib.Path) -> tuple[int, ...]:
    """Returns inode, size and time of a file, any of which a change alters; () without a file."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _read(
    study_dir: pathlib.Path,
    arms: Sequence[records.Record] | None,
    curves: Sequence[records.LabelRecord] | None,
    report: Callable[[float], None],
) -> Source:
    path, log = study_dir / "study.json", study_dir / "records.jsonl"
    if not path.exists() and not log.exists():
        raise InputError(
            f"{printable(study_dir)} holds no study: expected study.json and records.jsonl. "
            "Give --study_dir the directory that was --out_dir of tools/study.py."
        )
    content, warnings = _content(path), []
    settings = content.get("specs", {})
    if "study" in settings:
        spec = specs.StudySpec.from_json(settings["study"])
    else:
        spec = specs.StudySpec()
        warnings.append(
            "study.json lacks the study's settings: the margins and the number of seeds below "
            "are the defaults, not the declared values."
        )
    arms = tuple(records.read(log, report) if arms is None else arms)
    if curves is None:
        curves = records.read_labels(study_dir / "labels.jsonl")
    if not arms and not curves:
        warnings.append("No arm has been measured yet.")
    # Label curves of pre-trained encoders train no network that could be listed.
    is_measured = bool(arms or curves) and _lacks_no_unit(content)
    complete = bool(content.get("networks")) or is_measured
    if not complete:
        warnings.append(
            "study.json lists no trained networks yet; it does once the study is complete."
        )
    failed, retried = (_units(content, name) for name in ("failed", "again"))
    if failed:
        rest_text = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
        warnings.append(
            f"{len(failed)} units of work failed, and results that need them are missing: "
            f"{listed(failed)}{rest_text}. Run the same command to retry them."
        )
    return Source(
        path=study_dir,
        records=arms,
        spec=spec,
        specs=settings,
        versions=content.get("versions", {}),
        directory=printable(content.get("directory", ""), 4000),
        networks=content.get("networks", {}),
        warnings=tuple(warnings),
        labels=tuple(curves),
        recipes=content.get("recipes", {}),
        measured=content.get("measured", {}),
        stages=_stages(content.get("stages")),
        skip_pairs=_pairs(content.get("skips")),
        failed=failed,
        retried=retried,
        complete=complete,
    )


def _lacks_no_unit(content: Mapping[str, Any]) -> bool:
    units = content.get("units")
    return isinstance(units, dict) and units.get("lacking") == 0


def version(study_dir: pathlib.Path) -> str:
    """Identifies the state of a study's files by their sizes and checksums of their tails.

    Records are only ever appended, and the other files are small, so the tail is enough.
    """
    states = []
    for name in _FILES:
        try:
            with open(study_dir / name, "rb", opener=files.without_links) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                states.append(f"{size:x}-{zlib.crc32(file.read(_TAIL)):x}")
        except OSError:
            states.append("none")
    return ".".join(states)


def _stages(content: Any) -> dict[str, dict[str, str]]:
    """Returns architecture -> layer -> stage; ignores entries of another shape."""
    if not isinstance(content, dict):
        return {}
    return {
        architecture: {
            layer: stage for layer, stage in layers.items() if isinstance(stage, str)
        }
        for architecture, layers in content.items()
        if isinstance(layers, dict)
    }


def _pairs(content: Any) -> dict[str, frozenset[tuple[str, str]]]:
    """Returns architecture -> pairs of stages; ignores entries of another shape."""
    return {
        architecture: frozenset(
            (pair[0], pair[1])
            for pair in (pairs if isinstance(pairs, list) else ())
            if isinstance(pair, list) and [type(name) for name in pair] == [str, str]
        )
        for architecture, pairs in (
            content if isinstance(content, dict) else {}
        ).items()
    }


def listed(units: Sequence[tuple[str, str, str]]) -> str:
    """Lists the first units of work, each with its reason and node."""
    return "; ".join(
        f"{name}: {why}" + (f" (on {node})" if node else "")
        for name, why, node in units[:SHOWN]
    )


def _units(content: dict[str, Any], kind: str) -> tuple[tuple[str, str, str], ...]:
    """Returns name, reason and node of units of work; ignores entries of another shape."""
    by_kind = content.get("units")
    units = by_kind.get(kind) if isinstance(by_kind, dict) else None
    return tuple(
        tuple(printable(unit.get(name, ""), 300) for name in ("name", "why", "node"))
        for unit in (units if isinstance(units, list) else ())
        if isinstance(unit, dict)
    )


def _content(path: pathlib.Path) -> dict[str, Any]:
    """Reads the object in `study.json`; {} if there is no such file."""
    if not path.exists():
        return {}
    remedy = "Run the study again with the same settings in an empty directory."
    content = files.read_json(path, remedy)
    if not isinstance(content, dict):
        raise InputError(
            f"expected a JSON object in {printable(path)}, got {type(content).__name__}."
        )
    return content
