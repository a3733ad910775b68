import dataclasses

import planted
import pytest

from tfreuse import records
from tfreuse.errors import InputError

RECORD = planted.record(0.5, before=0.7, floor=0.1)


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
    other = dataclasses.replace(RECORD, group="bias")
    path.write_text(RECORD.to_line() + other.to_line()[:-cut])
    with records.Log(path) as log:
        assert log.records == [RECORD]
        log.append(other)
    assert records.read(path) == [RECORD, other]


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
    assert dataclasses.replace(RECORD, after=0.0, seconds=9.0).key == RECORD.key
