"""Undo of a written file: from the recipient where it is now, or from a copy in the undo file."""

import errno
import fcntl
import json
import os
import pathlib
import shutil
import zlib

import handmade
import numpy as np
import pytest

from tfreuse import checkpoints, transplant
from tfreuse.errors import InputError

MOVED = {
    "b2/0": np.ones(5, "f4"),
    "backbone/stem/c1/0": np.ones((3, 3, 3, 4), "f4"),
}


@pytest.fixture
def recipient(tmp_path):
    (tmp_path / "here").mkdir()
    return handmade.write_keras(tmp_path / "here" / "a.keras")


def write(recipient, out, **options):
    return checkpoints.write(recipient, out, MOVED, {"n": 1}, **options)


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("crc", [True, False])
@pytest.mark.parametrize("make", [handmade.write_keras, handmade.write_weights])
def test_by_default_the_undo_file_holds_no_replaced_value(make, crc, tmp_path):
    layers = [handmade.conv("c", (3, 3, 64, 64)), handmade.bn("b")]
    suffix = ".keras" if make is handmade.write_keras else ".weights.h5"
    path = make(tmp_path / f"a{suffix}", layers)
    before = path.read_bytes()
    out, copy = (tmp_path / f"{name}{suffix}" for name in "bc")
    moved = {"c/0": np.ones((3, 3, 64, 64), "f4")}
    sizes = []
    for target, options in ((out, {}), (copy, {"undo": "copy"})):
        report = checkpoints.write(path, target, moved, {}, crc=crc, **options)
        sizes.append(os.path.getsize(report.undo_path))
    assert out.read_bytes() == copy.read_bytes()
    assert sizes[0] < 20_000 and sizes[1] - sizes[0] > moved["c/0"].nbytes - 1000
    checkpoints.undo(out)
    path.unlink()  # the copy needs it no more
    checkpoints.undo(copy)
    assert out.read_bytes() == copy.read_bytes() == before


def test_the_recipient_is_found_where_either_file_was_moved(recipient, tmp_path):
    before = recipient.read_bytes()
    out = recipient.with_name("out.keras")
    write(recipient, out)
    for suffix in ("", ".undo"):  # the output alone
        shutil.copy(f"{out}{suffix}", tmp_path / f"moved.keras{suffix}")
    assert checkpoints.undo(tmp_path / "moved.keras") == "crc32"
    assert (tmp_path / "moved.keras").read_bytes() == before
    both = (
        tmp_path / "there"
    )  # the folder of both; another file is where the recipient was
    shutil.copytree(recipient.parent, both)
    recipient.write_bytes(bytes(len(before)))
    assert checkpoints.undo(both / "out.keras") == "crc32"
    assert (both / "out.keras").read_bytes() == before


def test_a_recipient_that_moved_or_changed_is_named_and_nothing_is_undone(
    recipient, tmp_path
):
    out = recipient.with_name("out.keras")
    write(recipient, out)
    before, size = recipient.read_bytes(), recipient.stat().st_size
    elsewhere = tmp_path / "elsewhere.keras"
    recipient.rename(elsewhere)
    with checkpoints.open(elsewhere) as opened:
        extents = sorted(opened.extent(path) for path in MOVED)
    flipped = bytearray(before)
    flipped[extents[0][0]] ^= 1
    crc, other = (
        zlib.crc32(b"".join(data[start:][:count] for start, count in extents))
        for data in (before, bytes(flipped))
    )
    cases = [
        (None, "no such file"),
        (before[:-1], f"{size - 1:,} bytes"),
        (bytes(flipped), f"{other:08x}"),
    ]
    for data, got in cases:
        if data is not None:
            recipient.write_bytes(data)
        files = content(tmp_path)
        with pytest.raises(InputError) as caught:
            checkpoints.undo(out)
        message = str(caught.value)
        assert "\n" not in message and str(recipient) in message
        assert f"expected {size:,} bytes with the CRC-32 {crc:08x}" in message
        assert "--recipient=FILE" in message
        assert f"got {got}. Nothing was undone" in message
        assert ("overwritten" if data else "no longer there") in message
        assert "its old values are gone; 'apply --undo=copy' keeps a copy" in message
        assert content(tmp_path) == files
    with pytest.raises(InputError, match="no such file"):
        checkpoints.undo(out, recipient=tmp_path / "absent.keras")
    assert transplant.undo(out, recipient=elsewhere) == "crc32"
    assert out.read_bytes() == before and not os.path.exists(f"{out}.undo")


def test_an_output_in_place_of_its_recipient_is_told_apart(recipient):
    out = recipient.with_name("out.keras")
    write(recipient, out)
    for suffix in ("", ".undo"):
        os.replace(f"{out}{suffix}", f"{recipient}{suffix}")
    with pytest.raises(InputError, match="is this output itself now: .* are gone"):
        checkpoints.undo(recipient)


@pytest.mark.parametrize("size", [0, 1, 26])  # an empty one has 27 bytes
def test_an_undo_file_cut_short_is_one_plain_line(recipient, size):
    out = recipient.with_name("out.keras")
    write(recipient, out)
    os.truncate(f"{out}.undo", size)
    with pytest.raises(InputError) as caught:
        checkpoints.undo(out)
    assert f"it has {size} bytes, too few for one. Nothing" in str(caught.value)


def test_an_output_that_changed_is_refused_whatever_its_recipient(recipient):
    out = recipient.with_name("out.keras")
    write(recipient, out)
    with checkpoints.open(out) as opened:
        offset = opened.extent("b2/1")[0]  # not replaced
    data = bytearray(out.read_bytes())
    data[offset] ^= 1
    out.write_bytes(data)
    with pytest.raises(InputError, match="changed since it was written"):
        checkpoints.undo(out)
    assert out.read_bytes() == data


def test_an_undo_file_of_version_0_1_is_understood(tmp_path):
    before, after = b"0123456789", b"01xyz5"
    displaced = b"23" + b"4" + b"6789"  # in the order of the writes
    record = {"size": 10, "size_after": 6, "crc": zlib.crc32(before)}
    record["writes"] = [(2, 2), (4, 1), (6, 4)]
    text = json.dumps(record).encode()
    data = b"tfreuse undo 2\n" + displaced + text + len(text).to_bytes(8, "little")
    out = tmp_path / "out.keras"
    out.write_bytes(after)
    undo = pathlib.Path(f"{out}.undo")
    undo.write_bytes(data + zlib.crc32(data).to_bytes(4, "little"))
    assert checkpoints.undo(out) == "crc32"
    assert out.read_bytes() == before and not undo.exists()


@pytest.mark.parametrize("key", ["path", "relative", "displaced", "crc32"])
def test_an_undo_file_with_a_spoilt_record_is_refused(key, recipient):
    out = recipient.with_name("out.keras")
    write(recipient, out)
    undo = pathlib.Path(f"{out}.undo")
    data = undo.read_bytes()
    length = int.from_bytes(data[-12:-4], "little")
    record = json.loads(data[-12 - length : -12])
    for junk in (None, -1, [[-1, 2]], "x" if key in ("displaced", "crc32") else 7):
        text = json.dumps(record | {"recipient": record["recipient"] | {key: junk}})
        new = data[: -12 - length] + text.encode() + len(text).to_bytes(8, "little")
        undo.write_bytes(new + zlib.crc32(new).to_bytes(4, "little"))
        with pytest.raises(InputError, match="not an undo file, or damaged"):
            checkpoints.undo(out)


def fails(code):
    def copy(*arguments):
        raise OSError(code, os.strerror(code))

    return copy


def short(source, target, count, start, end):
    return os.pwrite(target, os.pread(source, min(count, 61), start), end)


COPIES = {
    "other file systems": (fails(errno.EXDEV), "read and write"),
    "an old kernel": (fails(errno.ENOSYS), "read and write"),
    "no such range": (fails(errno.EINVAL), "read and write"),
    "forbidden": (fails(errno.EPERM), "read and write"),
    "nothing copied": (lambda *arguments: 0, "read and write"),
    "61 bytes at a time": (short, "copy_file_range"),
}


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="Linux only")
def test_bytes_without_checks_are_copied_in_the_kernel_or_else_read(
    recipient, monkeypatch
):
    out = recipient.with_name("out.keras")
    monkeypatch.setattr(fcntl, "ioctl", fails(errno.EOPNOTSUPP))
    assert write(recipient, out).copied == "read and write"
    expected = out.read_bytes()
    assert write(recipient, out, crc=False).copied == "copy_file_range"
    assert out.read_bytes() == expected
    for copy, method in COPIES.values():
        monkeypatch.setattr(os, "copy_file_range", copy)
        report = write(recipient, out, crc=False)
        assert (report.copied, out.read_bytes()) == (method, expected)


@pytest.mark.parametrize("crc", [True, False])
def test_blocks_are_shared_where_the_file_system_can(crc, recipient, monkeypatch):
    def clone(target, request, source):
        assert request == 0x40049409  # FICLONE of Linux
        os.pwrite(target, os.pread(source, 2**20, 0), 0)

    out = recipient.with_name("out.keras")
    write(recipient, out, crc=crc)
    expected = out.read_bytes()
    monkeypatch.setattr(fcntl, "ioctl", clone)
    monkeypatch.delattr(os, "copy_file_range")
    written, pwrite = [], os.pwrite
    monkeypatch.setattr(
        os,
        "pwrite",
        lambda f, data, o: (written.append(len(data)), pwrite(f, data, o))[1],
    )
    report = write(recipient, out, crc=crc)
    assert (report.copied, out.read_bytes()) == ("shared blocks", expected)
    assert sum(written) < len(expected) + 4000  # the clone, the values, the headers
    checkpoints.undo(out)
    assert out.read_bytes() == recipient.read_bytes()


def test_a_recipient_that_another_process_writes_meanwhile_is_refused(
    recipient, monkeypatch
):
    out, preadv = recipient.with_name("out.keras"), os.preadv

    def meanwhile(*arguments):
        os.utime(recipient, ns=(0, 0))
        return preadv(*arguments)

    monkeypatch.setattr(os, "preadv", meanwhile)
    with pytest.raises(InputError, match="changed while it was read"):
        write(recipient, out)
    assert not out.exists()
