"""What a report is made from: the files of a study, read and checked."""

import dataclasses
import functools
import os
import pathlib
import zlib
from collections.abc import Sequence
from typing import Any

from tfreuse import files, records, specs
from tfreuse.analysis import verdicts
from tfreuse.analysis.arms import Arms, Part, by_part
from tfreuse.errors import InputError, printable

SHOWN = 3  # units of work of which more is told than their number
_END = 1 << 16  # bytes at the end of a file that tell its state


@dataclasses.dataclass(frozen=True)
class Source:
    """A study as its directory holds it, complete or not."""

    path: pathlib.Path  # of the directory
    records: tuple[records.Record, ...]
    spec: specs.StudySpec
    specs: dict[
        str, dict[str, Any]
    ]  # "study", "data", "model", "train"; {} if not told
    versions: dict[str, str]
    networks: dict[str, dict[str, Any]]
    warnings: tuple[str, ...]  # what is not there and what was assumed instead
    labels: tuple[records.LabelRecord, ...] = ()  # of the label curves
    recipes: dict[str, str] = dataclasses.field(default_factory=dict)  # what each does
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)  # arms a block
    # by architecture, the stage of each layer; {} where names begin with their stage's
    stages: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    # units of work that failed, and that were done again: the name, why and the node of each
    failed: tuple[tuple[str, str, str], ...] = ()
    again: tuple[tuple[str, str, str], ...] = ()

    @functools.cached_property
    def parts(self) -> dict[Part, Arms]:
        """The arms of every part of the study, also of what is to come."""
        found = by_part(self.records)
        known = list(found)
        if not known and "architecture" in self.specs.get("model", {}):
            known = [Part(self.specs["model"]["architecture"], "", "")]
        return {
            part: found.get(part, {})
            for part in verdicts.declared_parts(known, self.spec)
        }

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def digest(self) -> str:
        """SHA-256 of the study's specs; "" without records."""
        return next((one.study for one in (*self.records, *self.labels)), "")

    def verdicts(self) -> list[verdicts.Verdict]:
        """The verdicts, with intervals over images where every image's counts were kept."""
        with records.CountsReader(self.path / "records.jsonl") as counts:
            read = counts.read if counts.size else None
            return verdicts.judge(self.records, self.spec, read)

    def skips(self, part: Part) -> bool:
        """Whether the part's U-shaped networks connect encoder and decoder, as far as known."""
        options = part.architecture.split(":")[1:]
        told = [word for word in options if word.startswith("skips=")]
        if told:
            return told[-1].lower() != "skips=false"
        model = self.specs.get("model", {})
        ours = part.architecture.split(":")[0] in specs.ARCHITECTURES
        return ours and bool(model.get("skips", True))


def load(
    study_dir: pathlib.Path,
    found: Sequence[records.Record] | None = None,
    curves: Sequence[records.LabelRecord] | None = None,
) -> Source:
    """Reads `records.jsonl`, `labels.jsonl` and `study.json`.

    Args:
        study_dir: the study's directory.
        found: the records, where they have been read already.
        curves: those of the label curves, where they have.

    Raises:
        InputError: there is neither, or one of them cannot be read.
    """
    path, log = study_dir / "study.json", study_dir / "records.jsonl"
    if not path.exists() and not log.exists():
        raise InputError(
            f"{printable(study_dir)} holds no study: expected study.json and records.jsonl. "
            "Give --study_dir the directory that was --out_dir of tools/study.py."
        )
    held, warnings = _held(path), []
    told = held.get("specs", {})
    if "study" in told:
        spec = specs.StudySpec.from_json(told["study"])
    else:
        spec = specs.StudySpec()
        warnings.append(
            "study.json does not tell the study's settings: the margins and the number of "
            "seeds below are the defaults, not what was declared."
        )
    found = tuple(records.read(log) if found is None else found)
    if curves is None:
        curves = records.read_labels(study_dir / "labels.jsonl")
    if not found and not curves:
        warnings.append("No arm has been measured yet.")
    if not held.get("networks"):
        warnings.append(
            "study.json does not tell the trained networks; it does once the study is complete."
        )
    failed, again = (_units(held, name) for name in ("failed", "again"))
    if failed:
        more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
        warnings.append(
            f"{len(failed)} units of work failed, and what needs them is missing: "
            f"{named(failed)}{more}. The same command tries them again."
        )
    return Source(
        path=study_dir,
        records=found,
        spec=spec,
        specs=told,
        versions=held.get("versions", {}),
        networks=held.get("networks", {}),
        warnings=tuple(warnings),
        labels=tuple(curves),
        recipes=held.get("recipes", {}),
        measured=held.get("measured", {}),
        stages=_stages(held.get("stages")),
        failed=failed,
        again=again,
    )


def version(study_dir: pathlib.Path) -> str:
    """Tells two states of a study's files apart: their sizes, and checksums of their ends.

    Records are only ever added at the end, and the other files are small.
    """
    told = []
    for name in ("records.jsonl", "study.json", "labels.jsonl"):
        try:
            with open(study_dir / name, "rb", opener=files.without_links) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _END))
                told.append(f"{size:x}-{zlib.crc32(file.read(_END)):x}")
        except OSError:
            told.append("none")
    return ".".join(told)


def _stages(told: Any) -> dict[str, dict[str, str]]:
    """The stages as they should be; what is told otherwise is left out."""
    if not isinstance(told, dict):
        return {}
    return {
        architecture: {
            layer: stage for layer, stage in of.items() if isinstance(stage, str)
        }
        for architecture, of in told.items()
        if isinstance(of, dict)
    }


def named(units: Sequence[tuple[str, str, str]]) -> str:
    """The first of the units of work, each with what happened and where."""
    return "; ".join(
        f"{name}: {why}" + (f" (on {node})" if node else "")
        for name, why, node in units[:SHOWN]
    )


def _units(held: dict[str, Any], which: str) -> tuple[tuple[str, str, str], ...]:
    """Name, reason and node of units of work; what is told otherwise is left out."""
    units = held.get("units")
    told = units.get(which) if isinstance(units, dict) else None
    return tuple(
        tuple(printable(one.get(name, ""), 300) for name in ("name", "why", "node"))
        for one in (told if isinstance(told, list) else ())
        if isinstance(one, dict)
    )


def _held(path: pathlib.Path) -> dict[str, Any]:
    """The object in `study.json`; empty if there is no such file."""
    if not path.exists():
        return {}
    try:
        held = files.read_json(path)
    except ValueError as error:
        raise InputError(
            f"{printable(path)} is no JSON ({printable(error, 80)}). Run the study again with "
            "the same settings in an empty directory."
        ) from error
    if not isinstance(held, dict):
        raise InputError(
            f"expected a JSON object in {printable(path)}, got {type(held).__name__}."
        )
    return held
