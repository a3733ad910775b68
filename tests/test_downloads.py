"""Downloads: never unasked, and without a network one line at once."""

import socket
import time

import pytest

from tfreuse.data import downloads
from tfreuse.errors import InputError
from tfreuse.specs import DataSpec

PETS = DataSpec(dataset="tfds:oxford_iiit_pet")


@pytest.fixture
def nobody(monkeypatch):
    """A host that does not answer, and no process may be started."""
    with socket.socket() as taken:  # bound and not listening: refuses
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(downloads, "HOST", taken.getsockname())
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(downloads.subprocess, "run", None)
        yield


def test_without_a_network_one_line_comes_within_two_seconds(nobody, tmp_path):
    started = time.monotonic()
    with pytest.raises(InputError, match="is not reached within 1.5 s"):
        downloads.fetch(DataSpec(dataset=PETS.dataset, data_dir=str(tmp_path)))
    assert time.monotonic() - started < 2


def test_what_is_on_the_disk_is_not_fetched(nobody, tmp_path):
    place = tmp_path / "oxford_iiit_pet" / "4.0.0"
    place.mkdir(parents=True)
    (place / "dataset_info.json").write_text("{}")
    downloads.fetch(DataSpec(dataset=PETS.dataset, data_dir=str(tmp_path)))


def test_only_data_sets_of_tfds_are_downloaded():
    with pytest.raises(InputError, match="--download is for --dataset=tfds:NAME"):
        downloads.fetch(DataSpec(dataset="folder"))


@pytest.mark.parametrize("status, refused", [(0, False), (1, True)])
def test_tfds_prepares_it_where_somebody_answers(
    monkeypatch, tmp_path, status, refused
):
    asked = []

    def run(command, check):
        asked.append(command[-2:])
        return type("Done", (), {"returncode": status})

    monkeypatch.setattr(downloads.subprocess, "run", run)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        spec = DataSpec(dataset=PETS.dataset, data_dir=str(tmp_path))
        if refused:
            with pytest.raises(InputError, match="TFDS could not prepare"):
                downloads.fetch(spec)
        else:
            downloads.fetch(spec)
    assert asked == [["oxford_iiit_pet", str(tmp_path)]]
