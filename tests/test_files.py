import os
import signal
import subprocess
import sys

import pytest

from tfreuse import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_write_replaces_the_old_file_with_usual_permissions(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    files.write_text(path, "old")
    files.write_text(path, "new")
    assert path.read_text() == "new"
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_kill_while_writing_leaves_a_complete_file(tmp_path):
    path = tmp_path / "numbers.json"
    code = (
        "import sys\nfrom tfreuse import files\nprint('go', flush=True)\n"
        "for i in range(10**6): files.write_json(sys.argv[1], [i] * 20_000)"
    )
    for delay in (0.0, 0.01, 0.02, 0.05, 0.1):
        process = subprocess.Popen(
            [sys.executable, "-c", code, path], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        while not path.exists():
            pass
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert len(set(files.read_json(path))) == 1


HANGS = """
import sys, time
from tfreuse import files
with files.replacing(sys.argv[1]):
    print("go", flush=True)
    time.sleep(60)
"""


def test_the_next_write_removes_what_a_kill_left_and_nothing_of_the_living(tmp_path):
    path = tmp_path / "a.txt"
    (tmp_path / ".a.txt.mine").write_text("not ours")
    (tmp_path / ".a.txt.0123abcd-1-x").write_text("another machine's")
    writers = [
        subprocess.Popen([sys.executable, "-c", HANGS, path], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for writer in writers:
            writer.stdout.readline()
        assert len(os.listdir(tmp_path)) == 4
        writers[0].kill()
        writers[0].wait()
        files.write_text(path, "new")
        expected = {".a.txt.mine", ".a.txt.0123abcd-1-x", "a.txt"}
        (living,) = set(os.listdir(tmp_path)) - expected
        assert f"-{writers[1].pid}-" in living
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()


def test_equal_values_have_equal_digests_whatever_the_order_of_their_keys():
    assert files.digest({"a": 1, "b": [2]}) == files.digest({"b": [2], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 2})
