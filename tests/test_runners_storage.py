"""A directory that stands for one at a URL, and a study whose directory is one."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import pytest
import units
from test_study_runners import SPECS, keys, measured

from tfreuse import files, records, runners, study
from tfreuse.errors import InputError
from tfreuse.runners import Folder, RunnerSpec, lease, storage, unit
from tfreuse.study import work


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """Units that take no time, and leases that settle at once."""
    monkeypatch.setattr(work, "train", units.fake_train)
    monkeypatch.setattr(work, "measure", units.fake_measure)
    monkeypatch.setattr(work, "finish", units.fake_finish)
    monkeypatch.setattr(lease, "SETTLE", 0.01)


@pytest.fixture
def remote(tmp_path):
    """Where the URL leads."""
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def mirror(remote, local):
    return storage.Mirror(f"file://{remote}", local)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_is_there_comes_and_what_is_made_goes(remote, tmp_path):
    write(remote / "models" / "a" / "model.keras", "theirs")
    write(remote / "models" / "b" / "model.keras", "other")
    study_mirror = mirror(remote, tmp_path / "here")
    study_mirror.pull("models/a", "models/none", "study.json")
    assert (tmp_path / "here/models/a/model.keras").read_text() == "theirs"
    assert not (tmp_path / "here/models/b").exists()
    write(tmp_path / "here/models/c/model.keras", "ours")
    write(tmp_path / "here/models/c/.model.keras.12", "half of it")
    study_mirror.push("models/c")
    assert os.listdir(remote / "models" / "c") == ["model.keras"]
    assert (remote / "models/c/model.keras").read_text() == "ours"


def test_only_what_is_other_is_moved(remote, tmp_path):
    write(remote / "a" / "one", "1")
    local = tmp_path / "here"
    mirror(remote, local).pull("a")
    first = (local / "a" / "one").stat()
    mirror(remote, local).pull("a")  # of another process
    assert (local / "a" / "one").stat() == first
    stamp = (remote / "a" / "one").stat()
    mirror(remote, local).push("a")
    assert (remote / "a" / "one").stat().st_mtime_ns == stamp.st_mtime_ns
    write(remote / "a" / "one", "22")
    mirror(remote, local).pull("a")
    assert (local / "a" / "one").read_text() == "22"
    write(local / "a" / "one", "333")
    mirror(remote, local).push("a")
    assert (remote / "a" / "one").read_text() == "333"


def test_what_is_newer_here_is_not_replaced(remote, tmp_path):
    write(remote / "a" / "one", "1")
    write(remote / "b" / "two", "2")
    local = tmp_path / "here"
    mirror(remote, local).pull("a")
    write(local / "a" / "one", "1 and more")  # what a killed worker had not sent yet
    mirror(remote, local).pull("a")
    assert (local / "a" / "one").read_text() == "1 and more"
    mirror(remote, local).pull("a", "b", but=["b"])
    assert not (local / "b").exists()
    assert not lease.is_held_locally(local / "lease")
    with lease.hold(lease.LocalLeaseFile(local / "lease"), "it"):
        assert lease.is_held_locally(local / "lease")
    assert not lease.is_held_locally(local / "lease")


def test_counts_go_before_the_records_that_point_to_them_and_the_marker_goes_last(
    remote, tmp_path, monkeypatch
):
    for name in ("done.json", "records.jsonl", "counts.bin", "progress.json"):
        write(tmp_path / "here" / "units" / "a" / name, name)
    study_mirror, order = mirror(remote, tmp_path / "here"), []
    put = study_mirror._put
    monkeypatch.setattr(
        study_mirror,
        "_put",
        lambda path, source: (order.append(path), put(path, source)),
    )
    study_mirror.push("units")
    names = [path.rpartition("/")[2] for path in order]
    assert set(names[:2]) == {"counts.bin", "progress.json"}
    assert names[2:] == ["records.jsonl", "done.json"]


def test_what_is_made_goes_while_it_is_made(remote, tmp_path):
    study_mirror = mirror(remote, tmp_path / "here")
    with study_mirror.synchronized("a", every=0.05):
        write(tmp_path / "here" / "a" / "x", "half")
        deadline = time.monotonic() + 10
        while not (remote / "a" / "x").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (remote / "a" / "x").read_text() == "half"
        write(tmp_path / "here" / "a" / "x", "whole")
    assert (remote / "a" / "x").read_text() == "whole"


def test_an_unknown_kind_of_url_is_told(tmp_path):
    with pytest.raises(InputError, match="nosuch://x cannot be used"):
        storage.Mirror("nosuch://x", tmp_path)


def test_whatever_a_file_system_raises_is_told_as_trouble_with_files(
    remote, tmp_path, monkeypatch
):
    study_mirror = mirror(remote, tmp_path / "here")

    def broken(*args, **options):
        raise KeyError("<its own error>")

    monkeypatch.setattr(study_mirror._fs, "find", broken)
    monkeypatch.setattr(study_mirror._fs, "cat_file", broken)
    for call in (
        lambda: study_mirror.pull("a"),
        storage.RemoteLeaseFile(study_mirror, "lease").read,
    ):
        with pytest.raises(
            OSError, match="file://.* does not do what it should.*KeyErr"
        ):
            call()


def test_the_directory_that_stands_for_a_url_is_the_same_everywhere():
    path = storage.scratch("gs://a/b")
    assert path == storage.scratch("gs://a/b/") != storage.scratch("gs://a/c")
    assert storage.is_url("gs://a") and not storage.is_url("/mnt/a")


def test_a_lease_there_keeps_others_out_and_stands_still_when_its_holder_is_gone(
    remote, tmp_path
):
    study_mirror = mirror(remote, tmp_path / "here")

    def hold(**options):
        return lease.hold(
            storage.RemoteLeaseFile(study_mirror, "lease"), "it", settle=0.01, **options
        )

    with hold(heartbeat=0.05):
        with (
            pytest.raises(lease.AlreadyHeld, match="it is held by process"),
            hold(expiry=1.0),
        ):
            pass
        held = storage.RemoteLeaseFile(study_mirror, "lease").read()
        assert json.loads(held)["process"] == os.getpid()
    assert not (remote / "lease").exists()  # given back
    write(remote / "lease", json.dumps({"host": "elsewhere", "holder": "theirs"}))
    start = time.monotonic()
    with hold(expiry=0.5):
        assert time.monotonic() - start > 0.4


def test_a_lease_that_is_just_being_written_is_no_free_one(remote, tmp_path):
    write(remote / "lease", "")
    file = storage.RemoteLeaseFile(mirror(remote, tmp_path / "here"), "lease")
    assert file.read() == b""  # its writer was killed
    writer = threading.Timer(0.02, write, (remote / "lease", "mark"))
    writer.start()
    assert file.read() == b"mark"
    writer.join()


def test_of_two_who_take_a_lease_together_one_has_it(remote, tmp_path):
    study_mirror = mirror(remote, tmp_path / "here")

    class Late(storage.RemoteLeaseFile):
        """Another process's heartbeat is written right after this one's."""

        late = True

        def write(self, mark):
            super().write(mark)
            if self.late:
                super().write(json.dumps({"holder": "theirs"}).encode())
                self.late = False

    with (
        pytest.raises(lease.AlreadyHeld),
        lease.hold(Late(study_mirror, "lease"), "it", settle=0.01, expiry=0.1),
    ):
        pass


# --- units and studies


def test_a_unit_goes_on_on_another_machine(remote, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    url = f"file://{remote}"
    half = units.unit_of("a", units.arms, 3)
    whole = units.unit_of("a", units.arms, 5, 4, flag)  # the same spec, and more arms
    assert unit.carry_out(half, tmp_path / "one", 1, "", url) is None
    for name in ("done.json",):
        (Folder(remote, half).path / name).unlink()
    assert unit.carry_out(whole, tmp_path / "two", 1, "", url) is None
    loaded = records.read(Folder(remote, whole).path / "records.jsonl")
    assert [record.seed for record in loaded] == [0, 1, 2, 3, 4]
    first = records.read(Folder(tmp_path / "one", half).path / "records.jsonl")
    assert loaded[:3] == first
    assert Folder(remote, whole).done()["records"] == 5


def test_what_a_unit_needs_comes_and_what_it_makes_goes(remote, tmp_path):
    write(remote / "models" / "a" / "model", "donor")
    product = tmp_path / "here" / "models" / "b" / "words"
    work = units.unit_of(
        "a", units.note, product, "made", reads=("models/a",), writes=("models/b",)
    )
    product.parent.mkdir(parents=True)
    assert unit.carry_out(work, tmp_path / "here", 1, "", f"file://{remote}") is None
    assert (tmp_path / "here/models/a/model").read_text() == "donor"
    assert (remote / "models/b/words").read_text() == "made"


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A study at a URL, begun by one machine and finished by another; neither sees the other's."""
    root = tmp_path_factory.mktemp("url")
    (root / "there").mkdir()
    url, spec = f"file://{root / 'there'}", RunnerSpec(runner="index", unit_index=0)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("train", "measure", "finish"):
            patch.setattr(work, name, getattr(units, f"fake_{name}"))
        _, failure = study.run_one(SPECS, root / "one", spec, url)
        assert failure is None
        assert (root / "there/models/segmentation-0/metrics.json").exists()
        assert study.run(SPECS, root / "two", RunnerSpec(), url) == {}
    return root


@pytest.fixture
def finished(begun, remote):
    """A copy of its directory."""
    shutil.copytree(begun / "there", remote, dirs_exist_ok=True)
    return remote


def test_a_study_at_a_url_goes_on_on_another_machine(begun, finished, tmp_path):
    assert not (begun / "one" / "records.jsonl").exists()
    assert len(keys(finished)) == 12 and len(measured(begun / "two")) == 4
    assert files.read_json(finished / "study.json")["units"]["lacking"] == 0
    assert (
        study.run(SPECS, tmp_path / "three", RunnerSpec(), f"file://{finished}") == {}
    )
    assert keys(tmp_path / "three") == keys(finished)
    assert not (tmp_path / "three" / "measured").exists()  # nothing was done again


def test_records_that_are_nowhere_at_a_url_are_measured_again(finished, tmp_path):
    whole = keys(finished)
    (finished / "records.jsonl").unlink()
    for path in finished.glob("units/measure-autoencoder*-1-*/records.jsonl"):
        path.unlink()
    assert study.run(SPECS, tmp_path / "two", RunnerSpec(), f"file://{finished}") == {}
    assert keys(finished) == whole
    assert measured(tmp_path / "two") == ["autoencoder-to-segmentation-1"]


def test_a_report_of_a_study_at_a_url(finished, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tfreuse.cli.report", f"--study_dir=file://{finished}"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (finished / "report.html").exists() and (finished / "verdicts.json").exists()


def test_other_tools_refuse_a_url():
    done = subprocess.run(
        [sys.executable, "-m", "tfreuse.cli.train", "--out_dir=gs://a/b"],
        capture_output=True, text=True, check=False, cwd=pathlib.Path(__file__).parent,
    )  # fmt: skip
    assert done.returncode == 1 and "is a URL; expected a path" in done.stderr
    assert runners.UNITS == "units"
