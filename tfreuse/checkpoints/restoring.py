"""Restores the recipient in place of an output, from its undo file; see `journal`.

By default the replaced values are read from the recipient, if their checksum is unchanged there.
Otherwise the undo file holds them.
"""

import bisect
import contextlib
import itertools
import json
import os
import pathlib
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from tfreuse import files
from tfreuse.checkpoints.journal import BY_RECIPIENT, COMPLETE, CRC_SIZE
from tfreuse.checkpoints.source import MAX_HEADER, Source, open_file
from tfreuse.errors import InputError, printable

_TAIL = 8 + CRC_SIZE  # bytes of the record's length and the CRC-32


def recipient_paths(recipient: pathlib.Path, out: pathlib.Path) -> dict[str, Any]:
    """Returns a recipient's absolute path, and its path from the output's folder.

    One of them is still right where one of the files, or the folder of both, is moved.
    """
    path = os.path.realpath(recipient)
    folder = os.path.realpath(out.parent)
    return {"path": path, "relative": os.path.relpath(path, folder)}


def undo(
    path: str | os.PathLike,
    *,
    recipient: str | os.PathLike | None = None,
    dry_run: bool = False,
) -> str:
    """Restores the recipient, byte for byte, in place of an output; removes the undo file.

    Args:
        path: output of `write`; its undo file is `path` + ".undo".
        recipient: file that the output was written from, if it is no longer where it was.
        dry_run: read and check everything, and write nothing.

    Returns:
        "crc32" if the restored file has the recipient's CRC-32, "unverified" if that is
        unknown because the output was written with crc=False.

    Raises:
        InputError: the undo file is missing or damaged, `path` changed since, or the recipient
            is needed and moved or changed; nothing is changed.
    """
    undo_path = pathlib.Path(f"{os.fspath(path)}.undo")
    if not os.path.lexists(undo_path):
        raise InputError(
            f"nothing to undo: there is no {printable(undo_path.name)} beside "
            f"{printable(path)}. apply writes it, and undo removes it when it is done."
        )
    with contextlib.ExitStack() as stack:
        record, displaced = _read(undo_path)
        stack.callback(os.close, displaced.descriptor)
        written = open_file(path, follow=False)
        stack.callback(os.close, written.descriptor)
        if written.size != record["size_after"]:
            raise _changed(path)
        origin = None
        if "recipient" in record:
            origin = _recipient(pathlib.Path(path), record, recipient)
            stack.callback(os.close, origin.descriptor)
        write = None
        if not dry_run:
            temporary = stack.enter_context(files.replacing(path))
            write = stack.enter_context(open(temporary, "wb")).write
        crc = 0
        for piece in _original(record, written, displaced, origin):
            crc = zlib.crc32(piece, crc)
            if write is not None:
                write(piece)
        if record["crc"] not in (None, crc):
            raise _changed(path)
    if not dry_run:
        undo_path.unlink()
    return "unverified" if record["crc"] is None else "crc32"


def _recipient(
    out: pathlib.Path, record: dict[str, Any], moved_to: str | os.PathLike | None
) -> Source:
    """Opens the recipient, and checks that its replaced values are unchanged.

    Raises:
        InputError: there is no such file at any of its paths.
    """
    origin = record["recipient"]
    candidates = [pathlib.Path(origin["path"]), out.parent / origin["relative"]]
    if moved_to is not None:
        candidates = [pathlib.Path(moved_to)]
    problems = []
    for path in candidates:
        if not os.path.exists(path):
            problems.append("no such file")
            continue
        source = open_file(path)
        problem = _difference(source, record)
        if not problem:
            return source
        os.close(source.descriptor)
        problems.append(problem)
    worst = max(problems, key=lambda problem: problem != "no such file")
    where = candidates[problems.index(worst)]
    raise InputError(
        f"{printable(out)} takes its old values from its recipient {printable(where)}, "
        f"{_fate(where, out)}: expected {record['size']:,} bytes with the CRC-32 "
        f"{origin['crc32']:08x} of the replaced ones, got {worst}. Nothing was undone; type "
        "--recipient=FILE for the recipient as it was. Without such a file its old values are "
        "gone; 'apply --undo=copy' keeps a copy of them."
    )


def _fate(recipient: pathlib.Path, out: pathlib.Path) -> str:
    """Returns how a recipient that cannot be used was lost, as the end of a sentence."""
    if not recipient.exists():
        return "which is no longer there"
    if recipient.samefile(out):
        return "which is this output itself now"
    return "which was overwritten since"


def _difference(source: Source, record: dict[str, Any]) -> str:
    """Returns how a file differs from the recipient, as far as undo reads it; "" if not."""
    if source.size != record["size"]:
        return f"{source.size:,} bytes"
    crc = 0
    for offset, size in record["recipient"]["displaced"]:
        for piece in source.pieces(offset, size):
            crc = zlib.crc32(piece, crc)
    return "" if crc == record["recipient"]["crc32"] else f"{crc:08x}"


def _original(
    record: dict[str, Any], written: Source, displaced: Source, origin: Source | None
) -> Iterator[memoryview]:
    """Yields the bytes of the original file: displaced bytes, and unchanged ones between."""
    position, size = 0, record["size"]
    elsewhere = record["recipient"]["displaced"] if origin else []
    skipped = sum(size for _, size in elsewhere)  # not in the undo file
    first_writes = _first_writes([*elsewhere, *record["writes"]])
    for start, end, saved in [*first_writes, (size, size, skipped)]:
        start, end = min(start, size), min(end, size)  # the original ended there
        if position < start:
            yield from written.pieces(position, start - position)
        if saved < skipped:
            yield from origin.pieces(start, end - start)
        else:
            yield from displaced.pieces(saved - skipped, end - start)
        position = end


def _first_writes(writes: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Returns (start, end, offset in the displaced bytes) of each extent's first write.

    A second write to the same bytes displaced new content, which `undo` must not restore. So
    each write contributes only the gaps between the extents that earlier writes covered.
    The result is sorted and disjoint.
    """
    covered: list[tuple[int, int, int]] = []
    saved = 0  # offset of this write's displaced bytes
    for offset, size in writes:
        start, end = offset, offset + size
        index = bisect.bisect(covered, (start,))
        index -= index > 0 and covered[index - 1][1] > start  # overlaps from before
        gaps = []
        for next_start, next_end, _ in covered[index : bisect.bisect(covered, (end,))]:
            gaps.append((start, next_start))
            start = next_end
        gaps.append((start, end))
        for gap_start, gap_end in gaps:
            if gap_start < gap_end:
                extent = (gap_start, gap_end, saved + gap_start - offset)
                bisect.insort(covered, extent)
        saved += size
    return covered


def _read(path: pathlib.Path) -> tuple[dict[str, Any], Source]:
    """Reads an undo file: its record, and a window of the displaced bytes."""
    source = open_file(path)
    try:
        if source.size < len(COMPLETE) + _TAIL:
            raise ValueError(f"it has {source.size} bytes, too few for one")
        tail = source.read(source.size - _TAIL, _TAIL)
        crc = 0
        for piece in source.pieces(0, source.size - CRC_SIZE):
            crc = zlib.crc32(piece, crc)
        length = int.from_bytes(tail[:8], "little")
        start = source.size - _TAIL - length
        if crc != int.from_bytes(tail[8:], "little") or length > MAX_HEADER:
            raise ValueError("its checksum does not fit")
        signature = source.read(0, len(COMPLETE))
        if signature not in (COMPLETE, BY_RECIPIENT):
            raise ValueError("it is of another kind")
        record = json.loads(source.read(start, length))
        data = source.window(len(COMPLETE), start - len(COMPLETE))
        counts = [record["size"], *itertools.chain(*record["writes"])]
        if signature == COMPLETE:
            record.pop("recipient", None)
        else:
            origin = record["recipient"]
            counts += [origin["crc32"], *itertools.chain(*origin["displaced"])]
            if not all(type(origin[name]) is str for name in ("path", "relative")):
                raise ValueError("its record does not say where the recipient is")
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("its record holds no offsets and sizes")
        if sum(size for _, size in record["writes"]) != data.size:
            raise ValueError("it has another length than it declares")
        return record, data
    except (ValueError, KeyError, TypeError) as error:  # InputError is a ValueError
        os.close(source.descriptor)
        raise InputError(
            f"{printable(path)} is not an undo file, or damaged: {printable(error).rstrip('.')}. "
            "Nothing was undone; use the recipient's own file if it is as it was."
        ) from error


def _changed(path: str | os.PathLike) -> InputError:
    return InputError(
        f"{printable(path)} changed since it was written, or the undo file is of another output; "
        "nothing was undone. Write it again from its recipient."
    )
