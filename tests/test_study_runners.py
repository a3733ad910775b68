"""A study's units on every runner: the same records, whatever ran them and what failed."""

import contextlib
import io

import commands
import pytest
import units
from test_runners import holder

from tfreuse import files, progress, records, study
from tfreuse.errors import InputError
from tfreuse.report import source
from tfreuse.runners import Event, Failure, Folder, RunnerSpec
from tfreuse.specs import DataSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.study import work
from tfreuse.study.board import Board

SPECS = study.Specs(
    StudySpec(seeds=2, controls=("self",), groups=("kernel", "affine", "all")),
    DataSpec(),
    ModelSpec(),
    TrainSpec(),
)
BLOCK = "autoencoder-to-segmentation-1"


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """Units that take no time."""
    monkeypatch.setattr(work, "train", units.fake_train)
    monkeypatch.setattr(work, "measure", units.fake_measure)
    monkeypatch.setattr(work, "finish", units.fake_finish)


def keys(out_dir):
    return sorted(record.key for record in records.read(out_dir / "records.jsonl"))


def measured(out_dir):
    return (out_dir / "measured").read_text().split()


def threads(out_dir):
    """The numbers of threads that units of the study have computed with."""
    paths = (out_dir / "units").glob("*/done.json")
    return {files.read_json(path)["threads"] for path in paths}


def run_unit(out_dir, index):
    return study.run_one(
        SPECS, out_dir, RunnerSpec(runner="index", unit_index=index, retries=0)
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that ran here without a stop."""
    out_dir = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("train", "measure", "finish"):
            patch.setattr(work, name, getattr(units, f"fake_{name}"))
        assert study.run(SPECS, out_dir) == {}
    return out_dir


def test_a_study_has_the_same_units_in_the_same_order_whatever_is_done(whole, tmp_path):
    names = [unit.name for unit in study.plan(SPECS, whole)]
    assert names == [unit.name for unit in study.plan(SPECS, tmp_path)]
    assert names[:2] == ["train segmentation-0", "train autoencoder-0"]
    assert names[-1] == "measure segmentation-to-autoencoder-1"


def test_a_study_is_told_whole(whole):
    assert len(keys(whole)) == len(set(keys(whole))) == 12
    described = files.read_json(whole / "study.json")
    assert described["units"] == {"lacking": 0, "failed": [], "again": []}
    assert (
        set(described["measured"].values()) == {3} and len(described["measured"]) == 4
    )
    assert (whole / "finished.json").exists()


def test_tasks_of_a_job_array_give_the_same_records_in_any_order(whole, tmp_path):
    for index in reversed(range(8)):
        unit, failure = run_unit(tmp_path, index)
        assert failure is None
    assert unit.name == "train segmentation-0"
    assert sorted(measured(tmp_path)) == sorted(measured(whole))  # each once
    assert not (tmp_path / "records.jsonl").exists()
    assert study.run(SPECS, tmp_path) == {}
    assert keys(tmp_path) == keys(whole)
    assert len(measured(tmp_path)) == 4  # only brought together
    with pytest.raises(InputError, match="--unit_index=8.*8 units of work, 0 to 7"):
        run_unit(tmp_path, 8)


def test_a_report_can_be_made_from_what_tasks_have_done(whole, tmp_path):
    run_unit(tmp_path, 4)
    study.collect(tmp_path)
    study.collect(tmp_path)  # nothing comes twice
    assert len(keys(tmp_path)) == 3 and set(keys(tmp_path)) < set(keys(whole))
    assert source.load(tmp_path).records


def test_a_block_that_fails_leaves_the_rest_and_is_named_until_it_is_done(
    whole, tmp_path
):
    (tmp_path / "FAIL").write_text(BLOCK)
    failed = study.run(SPECS, tmp_path, RunnerSpec(retries=1))
    assert list(failed) == [f"measure {BLOCK}"]
    assert len(keys(tmp_path)) == 11  # two of the three arms were measured before
    assert not (tmp_path / "finished.json").exists()
    loaded = source.load(tmp_path)
    assert any(
        f"measure {BLOCK}: ZeroDivisionError" in line for line in loaded.warnings
    )
    (again,) = loaded.retried
    assert again[0] == f"measure {BLOCK}"
    (tmp_path / "FAIL").unlink()
    assert study.run(SPECS, tmp_path) == {}
    assert keys(tmp_path) == keys(whole)
    assert not source.load(tmp_path).failed
    # The last two units had the machine for themselves; more threads round otherwise.
    assert threads(tmp_path) == threads(whole) and len(threads(whole)) == 1


def test_the_model_waits_only_for_the_blocks_that_decide_it(tmp_path):
    """It is exported beside the blocks of the other direction, and where one of them fails."""
    (tmp_path / "FAIL").write_text("segmentation-to-autoencoder-1")
    failed = study.run(SPECS, tmp_path, RunnerSpec(retries=0))
    assert list(failed) == ["measure segmentation-to-autoencoder-1"]
    assert (tmp_path / "finished.json").exists()


def test_a_second_driver_is_refused_and_a_reader_does_not_wait(tmp_path):
    with holder(tmp_path / "driver.lease") as process:
        with pytest.raises(
            InputError, match=f"this study is held by {process.pid}|held"
        ):
            study.run(SPECS, tmp_path)
        (tmp_path / "units").mkdir()
        study.collect(tmp_path)
    assert not (tmp_path / "records.jsonl").exists()
    assert study.run(SPECS, tmp_path) == {}


def test_records_that_were_taken_out_come_back_without_measuring(whole, tmp_path):
    study.run(SPECS, tmp_path)
    path = tmp_path / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    study.run(SPECS, tmp_path)
    assert keys(tmp_path) == keys(whole)
    assert len(measured(tmp_path)) == 4


def test_records_that_are_nowhere_are_measured_again(whole, tmp_path):
    study.run(SPECS, tmp_path)
    (tmp_path / "records.jsonl").unlink()
    (unit,) = (u for u in study.plan(SPECS, tmp_path) if u.name == f"measure {BLOCK}")
    (Folder(tmp_path, unit).path / "records.jsonl").unlink()
    study.run(SPECS, tmp_path)
    assert keys(tmp_path) == keys(whole)
    assert measured(tmp_path)[4:] == [BLOCK]


def test_a_units_poisoned_file_is_named_and_all_else_is_there(whole, tmp_path):
    study.run(SPECS, tmp_path)
    (tmp_path / "records.jsonl").unlink()
    (unit,) = (u for u in study.plan(SPECS, tmp_path) if u.name == f"measure {BLOCK}")
    path = Folder(tmp_path, unit).path / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"poison\n" + lines[2])
    failed = study.run(SPECS, tmp_path)
    assert "got 'poison'" in failed[f"measure {BLOCK}"].message
    assert len(keys(tmp_path)) == 11
    path.write_bytes(lines[0] + lines[2])
    assert study.run(SPECS, tmp_path) == {}
    assert keys(tmp_path) == keys(whole)


def test_a_network_that_was_deleted_is_trained_again(tmp_path):
    study.run(SPECS, tmp_path)
    path = tmp_path / "models" / "segmentation-1" / "metrics.json"
    path.unlink()
    study.run(SPECS, tmp_path)
    assert path.exists()


def test_an_outcome_that_was_deleted_is_made_again(tmp_path):
    study.run(SPECS, tmp_path)
    for name in ("finished.json", "savedmodel/1/assets.extra/tfreuse.json"):
        (tmp_path / name).unlink()
    study.run(SPECS, tmp_path)
    assert (tmp_path / "finished.json").exists()
    (tmp_path / "finished.json").unlink()
    study.run(SPECS, tmp_path)
    assert not (tmp_path / "finished.json").exists()  # the model was there


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--runner=index"], "--runner=index and --unit_index=I belong together"),
        (["--unit_index=3"], "--runner=index and --unit_index=I belong together"),
        (["--runner=index", "--unit_index=99"], "8 units of work, 0 to 7"),
        (["--runner=ray", "--ray_address=127.0.0.1:1"], "no Ray cluster answers"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path, flags, message):
    if "--runner=ray" in flags:
        pytest.importorskip("ray")
    done = commands.run(
        "study", "--dataset=shapes", "--seeds=2", f"--out_dir={tmp_path}", *flags
    )
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    with contextlib.suppress(FileNotFoundError):
        assert "unit_index" not in (tmp_path / "config.flags").read_text()


# --- what is shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_below_the_first_are_rewritten_in_place():
    stream = Terminal()
    display = progress.Display(2, stream=stream)
    display.update(1, "work", ["node-1", "node-2"], force=True)
    stream.truncate(stream.seek(0))
    display.update(2, "work", ["node-1"], force=True)
    text = stream.getvalue()
    assert text.startswith("\r\x1b[2A") and text.count("\n") == 2
    first, second, third = text.split("\n")
    assert first.endswith(" ") and "100%" in first
    assert second.strip() == "node-1" and third.strip() == ""


def board(tmp_path, nodes, lines):
    """Displays the progress of units on these nodes, one of them done, in `lines`."""
    listed = [units.unit_of(f"measure {n}") for n in range(len(nodes))]
    board = Board(listed, tmp_path)
    board._display = Shown(lines)
    for unit, node in zip(listed, nodes, strict=True):
        path = Folder(tmp_path, unit).path
        path.mkdir(parents=True)
        progress = {"share": 0.5, "text": "arm 1/2", "node": node}
        files.write_json(path / "progress.json", progress)
        board.update(Event(unit, started=True))
    board.close()
    board.update(Event(listed[0]))
    board.close()


class Shown:
    done_before = 0.0

    def __init__(self, lines):
        self._lines = lines

    def update(self, done, text, lines=(), *, force=False):
        if force:
            self._lines.append((done, text, *lines))

    def close(self):
        pass


def test_progress_counts_what_earlier_runs_did_and_the_time_left_does_not(
    tmp_path, monkeypatch
):
    """Of 8 units 4 are done and half of one: 3.5 are left, of which 0.5 took 10 s."""
    now, stream = [100.0], Terminal()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys, "stderr", stream)
    listed = [units.unit_of(f"measure {n}") for n in range(8)]
    board = Board(listed[4:], tmp_path, listed[:4])

    def shown(share, event):
        folder = Folder(tmp_path, listed[4]).path
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / "progress.json", {"share": share, "text": "arm"})
        stream.truncate(stream.seek(0))
        board.update(event)
        return stream.getvalue()

    assert " 56% 0:00 time left: ?" in shown(0.5, Event(listed[4], started=True))
    now[0] += 5
    assert " 56% 0:05 time left: ?" in shown(0.0, Event(None))  # a worker starts
    now[0] += 5
    assert " 62% 0:10 left ~1:00" in shown(1.0, Event(None))
    now[0] += 5
    again = Event(listed[4], Failure("lost", lost=True), will_retry=True)
    assert " 50%" in shown(1.0, again)  # the unit begins anew
    now[0] += 5
    assert " 62% 0:20 left ~2:00" in shown(1.0, Event(listed[4], started=True))


def test_progress_is_a_line_for_one_node_and_a_line_a_node_for_more(tmp_path):
    displayed = []
    board(tmp_path / "one", ["here", "here"], displayed)
    assert displayed[0] == (1.0, "measure 0: arm 1/2; measure 1: arm 1/2")
    assert displayed[-1] == (1.5, "measure 1: arm 1/2")
    displayed.clear()
    board(tmp_path / "two", ["node-1", "node-2", "node-2"], displayed)
    assert [" ".join(line.split()) for line in displayed[0][2:]] == [
        "node-1 measure 1 running, 0 done 0: arm 1/2",
        "node-2 measure 2 running, 0 done 1: arm 1/2; 2: arm 1/2",
    ]
    assert displayed[0][1] == "2 nodes, 3 units running, 0 of 3 done"
    assert "0 running, 1 done" in " ".join(displayed[-1][2].split())
    displayed.clear()
    board(tmp_path / "many", [f"node-{n}" for n in range(30)], displayed)
    assert len(displayed[0]) == 15 and displayed[0][-1].strip() == "... 18 more lines"
