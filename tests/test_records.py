import contextlib
import dataclasses
import os
import pathlib
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
import zlib

import numpy as np
import planted
import pytest

from benchmarks import records_made
from tfreuse import records
from tfreuse.errors import InputError
from tfreuse.records import counts

RECORD = planted.record(0.5, before=0.7, floor=0.1)
IMAGES, CLASSES = 3, 2


def confusion(number, classes=CLASSES):
    """Counts of every image that no other number has."""
    draw = np.random.default_rng(number)
    return draw.integers(0, 300, (IMAGES, classes, classes))


def errors(number, similarity=True):
    values = np.random.default_rng(number).random((IMAGES, 2))
    return (
        values if similarity else np.stack([values[:, 0], np.full(IMAGES, np.nan)], 1)
    )


def made(number, per_image=None, **changes):
    """A record that belongs to the counts, by default to `confusion(number)`."""
    per_image = confusion(number) if per_image is None else per_image
    sums = per_image.sum(axis=0).tolist()
    counts = {"confusion_matrix": sums} if per_image.ndim == 3 else None
    counts = counts or {"squared_error": sums[0]}
    return planted.record(0.5, seed=number, images=IMAGES, counts=counts, **changes)


def written(path, count):
    """A file of records with counts, closed; returns the records."""
    with records.Log(path) as log:
        for number in range(count):
            log.append(made(number), confusion(number))
    return log.records


def whole(path, count):
    """Whether the file holds the first `count` records, each once and with its counts."""
    loaded = records.read(path)
    with records.CountsReader(path) as reader:
        return [record.seed for record in loaded] == list(range(count)) and all(
            np.array_equal(reader.read(record), confusion(record.seed))
            for record in loaded
        )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records.jsonl"


def test_retention_is_the_share_of_what_is_above_the_floor():
    assert RECORD.retention == pytest.approx((0.4 - 0.1) / (0.7 - 0.1))
    assert RECORD.drop == pytest.approx(0.3)


def test_a_record_reads_back_as_it_was_written(tmp_path):
    with records.Log(tmp_path / "records.jsonl") as log:
        log.append(RECORD)
    assert records.read(tmp_path / "records.jsonl") == [RECORD]


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_half_a_line_at_the_end_is_cut_off_and_its_arm_measured_again(tmp_path, cut):
    path = tmp_path / "records.jsonl"
    unfinished = dataclasses.replace(RECORD, group="bias")
    path.write_text(RECORD.to_line() + unfinished.to_line()[:-cut])
    with records.Log(path) as log:
        assert log.records == [RECORD]
        log.append(unfinished)
    assert records.read(path) == [RECORD, unfinished]


def test_half_a_line_alone_in_the_file_is_cut_off(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(RECORD.to_line()[:50])
    with records.Log(path) as log:
        log.append(RECORD)
    assert records.read(path) == [RECORD]


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(RECORD.to_line() + "\x1b[31m{broken\n" + RECORD.to_line())
    with pytest.raises(InputError, match="line 2") as caught:
        records.read(path)
    assert "\x1b" not in str(caught.value)
    with pytest.raises(InputError, match="line 2"), records.Log(path):
        pass


def test_two_arms_that_differ_in_one_factor_have_different_keys():
    for field in (
        "direction",
        "link",
        "control",
        "site_kind",
        "site",
        "group",
        "repair",
    ):
        assert dataclasses.replace(RECORD, **{field: "x"}).key != RECORD.key
    for field in ("seed", "draw"):
        assert dataclasses.replace(RECORD, **{field: 1}).key != RECORD.key
    assert dataclasses.replace(RECORD, strength=0.5).key != RECORD.key
    keys = {dataclasses.replace(RECORD, updates=age).key for age in (None, 0, 30)}
    assert len(keys) == 3 and RECORD.key in keys
    assert dataclasses.replace(RECORD, after=0.0, seconds=9.0).key == RECORD.key


def test_what_is_shared_and_packed_is_still_the_record(path):
    assert written(path, 3) == records.read(path) == [
        dataclasses.replace(made(number), per_image=record.per_image)
        for number, record in enumerate(records.read(path))
    ]  # fmt: skip
    first, second, _ = pickle.loads(pickle.dumps(records.read(path)))
    assert first == records.read(path)[0] != second
    first, second, _ = records.read(path)
    assert first.versions is second.versions
    assert first.donor_digest is second.donor_digest


@pytest.mark.parametrize(
    "field",
    ['"per_image": [-1, 5]', '"per_image": [0]', '"per_image": [0.5, 1]',
     '"per_image": [true, 1]', '"per_image": {}', '"seed": "0"', '"after": null',
     '"donor": 3', '"versions": []', '"counts": [1]', '"unheard_of": 1', '"after": NaN',
     '"after": 1e999', f'"before": {"9" * 400}', '"counts": {"sum": -Infinity}', '"rmse": NaN'],
)  # fmt: skip
def test_a_value_that_is_not_the_fields_kind_is_an_error_that_names_the_line(
    path, field
):
    line = RECORD.to_line()
    path.write_text(line + line[:-2] + f", {field}}}\n")  # the last of two counts
    with pytest.raises(InputError, match="line 2"):
        records.read(path)


def test_a_line_of_ten_thousand_brackets_is_an_error_too(path):
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(InputError, match="line 1"):
        records.read(path)


@pytest.mark.parametrize(
    "per_image",
    [
        confusion(0),
        confusion(0).astype(np.uint16),
        np.full((IMAGES, 5, 5), 255),
        np.full((IMAGES, 5, 5), 256),
        np.full((IMAGES, 5, 5), 2**32),
        np.zeros((IMAGES, 1, 1), np.int64),
        errors(0),
        errors(0, similarity=False),
        np.where(np.arange(IMAGES)[:, None] == 1, np.nan, errors(0)),
    ],
    ids=str,
)
def test_counts_read_back_as_they_were_whatever_their_size(path, per_image):
    record = dataclasses.replace(made(0, per_image), counts={})
    with records.Log(path) as log:
        log.append(RECORD)
        log.append(record, per_image)
    plain, packed = records.read(path)
    again = records.read_counts(path, packed)
    np.testing.assert_array_equal(again, per_image)
    assert again.dtype == (np.int64 if per_image.ndim == 3 else np.float64)
    with pytest.raises(InputError, match="has none"):
        records.read_counts(path, plain)


@pytest.mark.parametrize(
    "per_image",
    [confusion(1), confusion(0)[:2], confusion(0, 5), errors(0),
     -confusion(0), confusion(0).astype(float), errors(0)[:, :1]],
)  # fmt: skip
def test_counts_that_are_not_the_records_are_refused_and_leave_no_trace(
    path, per_image
):
    with records.Log(path) as log, pytest.raises(ValueError):
        log.append(made(0), per_image)
    assert records.read(path) == []
    assert not counts.counts_path(path).exists()


def test_counts_take_a_tenth_of_their_size_and_a_missing_similarity_none():
    ((_, per_image),) = records_made.records(1)
    assert per_image.nbytes == 128 * 25 * 8
    assert len(counts.pack(per_image)) < per_image.nbytes / 10
    assert len(counts.pack(errors(0, similarity=False))) == 24 + IMAGES * 8


def test_a_kill_at_any_byte_leaves_what_was_finished_and_the_rest_is_measured_again(
    path,
):
    store = counts.counts_path(path)
    written(path, 3)
    log, blocks = path.read_bytes(), store.read_bytes()
    line = 1 + log.rstrip(b"\n").rfind(b"\n")
    (first, count) = records.read(path)[2].per_image
    states = [(line, first + cut) for cut in range(count + 1)]
    states += [(cut, len(blocks)) for cut in range(line, len(log), 97)]
    states += [(len(log) - 1, len(blocks))]
    for line_end, block_end in states:
        path.write_bytes(log[:line_end])
        store.write_bytes(blocks[:block_end])
        assert whole(path, 2), (line_end, block_end)
        with records.Log(path) as again:
            assert [record.seed for record in again.records] == [0, 1]
            again.append(made(2), confusion(2))
        assert (path.read_bytes(), store.read_bytes()) == (log, blocks)


# Imports once; for each line a process split off writes until it is killed.
WRITER = """
import itertools, os, sys
import test_records
from tfreuse import records
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        with records.Log(sys.argv[1]) as log:
            print(os.getpid(), flush=True)
            for number in itertools.count(len(log.records)):
                log.append(test_records.made(number), test_records.confusion(number))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_kill_9_at_random_moments_loses_no_record_and_doubles_none(path):
    moments = random.Random(0)
    before = 0
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path],
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        for _ in range(10):
            print(file=server.stdin, flush=True)
            child = int(server.stdout.readline())
            time.sleep(moments.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
            assert int(server.stdout.readline()) == -signal.SIGKILL
            count = len(records.read(path))
            assert count >= before
            assert whole(path, count)
            before = count
        server.stdin.close()
    assert before > 10


def test_no_room_leaves_the_file_of_records_whole(path):
    written(path, 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with records.Log(path) as log:
        for room in (counts.counts_path(path).stat().st_size + 5, 10):
            limit = room if room > 10 else path.stat().st_size + room
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            try:
                with pytest.raises(OSError):
                    log.append(made(2), confusion(2))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        log.append(made(2), confusion(2))
    assert whole(path, 3)


def test_a_second_writer_is_refused_while_the_first_is_there(path):
    with (
        records.Log(path),
        pytest.raises(InputError, match="another process"),
        records.Log(path),
    ):
        pass
    written(path, 1)
    assert whole(path, 1)


@pytest.mark.parametrize("lost", [1, 30, 100])
@pytest.mark.parametrize("how", ["cut", "zeros"])
def test_after_a_power_cut_the_last_records_without_their_counts_are_measured_again(
    path, lost, how
):
    written(path, 5)
    store = counts.counts_path(path)
    blocks = store.read_bytes()
    ends = [sum(record.per_image) for record in records.read(path)]
    store.write_bytes(blocks[:-lost] + bytes(lost if how == "zeros" else 0))
    intact = sum(end <= len(blocks) - lost for end in ends)
    assert intact < 5
    assert whole(path, intact)
    with records.Log(path) as log:
        for number in range(len(log.records), 5):
            log.append(made(number), confusion(number))
    assert store.read_bytes() == blocks
    assert whole(path, 5)


def test_counts_that_no_power_cut_can_have_taken_are_an_error(path, monkeypatch):
    monkeypatch.setattr(records.log, "SYNC_RECORDS", 2)
    written(path, 5)
    store = counts.counts_path(path)
    blocks = store.read_bytes()
    store.write_bytes(blocks[: len(blocks) // 2])
    before = path.read_bytes()
    for use in (records.read, lambda path: contextlib.ExitStack().enter_context(
        records.Log(path)
    )):  # fmt: skip
        with pytest.raises(InputError, match="Put the file back"):
            use(path)
    assert path.read_bytes() == before


def test_records_can_be_read_without_the_file_of_counts_but_not_gone_on_with(path):
    loaded = written(path, 2)
    counts.counts_path(path).unlink()
    assert records.read(path) == loaded
    with pytest.raises(InputError, match="missing"):
        records.read_counts(path, loaded[0])
    with pytest.raises(InputError, match="Put the file back"), records.Log(path):
        pass
    assert records.read(path) == loaded


@pytest.mark.parametrize("per_image", [confusion(0), errors(0), errors(0, False)])
def test_every_flipped_bit_is_found(path, per_image):
    with records.Log(path) as log:
        log.append(made(0, per_image), per_image)
    store = counts.counts_path(path)
    block = store.read_bytes()
    with records.CountsReader(path) as reader:
        for bit in range(8 * len(block)):
            wrong = bytearray(block)
            wrong[bit // 8] ^= 1 << bit % 8
            store.write_bytes(wrong)
            with pytest.raises(InputError) as caught:
                reader.read(log.records[0])
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "where", [(0, 0), (0, 10), (1, 30), (0, 10**18), (10**30, 1), (2**63, 2**63)]
)
def test_a_record_that_points_elsewhere_gets_no_counts(path, where):
    (record,) = written(path, 1)
    wrong = dataclasses.replace(record, per_image=where)
    with pytest.raises(InputError, match="cannot be used"):
        records.read_counts(path, wrong)


def test_a_record_that_points_to_anothers_counts_does_not_get_them(path):
    first, second = written(path, 2)
    wrong = dataclasses.replace(first, per_image=second.per_image)
    with pytest.raises(InputError, match="do not add up"):
        records.read_counts(path, wrong)


def forged(images, classes, body, width=1):
    """A block whose CRC is right, whatever it says."""
    return counts._block(counts._CONFUSION, width, images, classes, body)


@pytest.mark.parametrize(
    "block",
    [
        forged(2**32 - 1, 2**32 - 1, zlib.compress(b"1")),
        forged(10**6, 100, zlib.compress(bytes(10**6))),
        forged(1, 2, zlib.compress(bytes(10**8), 9)),
        forged(1, 2, zlib.compress(bytes(4)) + b"more"),
        forged(1, 2, zlib.compress(bytes(4))[:-1]),
        forged(1, 2, b"no zlib stream"),
        forged(1, 2, zlib.compress(bytes(12)), width=3),
        forged(0, 2, b""),
    ],
    ids=["huge", "too many", "bomb", "goes on", "ends early", "none", "width", "empty"],
)
def test_a_block_that_lies_about_its_size_takes_no_memory(block):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            counts.unpack(block)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_ten_thousand_records_take_a_kilobyte_each(path):
    versions = {"tfreuse": "0.1.0", "keras": "3.15"}  # the same on every machine
    with open(path, "w") as file:
        file.writelines(
            dataclasses.replace(record, versions=versions).to_line()
            for record, _ in records_made.records(10_000)
        )
    shares = []
    tracemalloc.start()
    try:
        loaded = records.read(path, shares.append)
        memory, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(loaded) == 10_000
    assert memory < 10e6  # so 10^5 take a tenth of the promised 1 GB
    assert peak < memory + 1e6  # the file is never held whole
    assert abs(len(shares) - path.stat().st_size / 2**20) < 2  # one a megabyte
    assert shares == sorted(shares) and 0.9 < shares[-1] <= 1
