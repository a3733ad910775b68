"""Errors of libraries and of the file system in one line; our own keep their traceback."""

import errno

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfreuse import files
from tfreuse.errors import InputError, in_one_line, plain, printable, reason


def raised(function, *args, **options):
    try:
        function(*args, **options)
    except Exception as error:  # noqa: BLE001 - any kind is examined
        return error
    raise AssertionError("nothing was raised")


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs), name="small")


def test_an_error_of_a_file_says_which_file_and_what_to_do(tmp_path):
    line = in_one_line(raised(open, tmp_path / "no" / "file"))
    assert line == f"No such file or directory ({tmp_path / 'no' / 'file'})."
    line = in_one_line(raised(open, tmp_path))
    assert line == f"Is a directory ({tmp_path}); expected a file."
    denied = in_one_line(PermissionError(errno.EACCES, "Permission denied", "a\x1b[1m"))
    assert "\x1b" not in denied and "give yourself the right" in denied


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("Can't write data (errno = 28, error message = 'No space left')"),
        tf.errors.ResourceExhaustedError(None, None, "x/data; No space left on device"),
        tf.errors.UnknownError(None, None, "x; No space left on device"),
    ],
)
def test_a_full_disk_is_one_line_whoever_meets_it(error):
    assert in_one_line(error).startswith("no space is left on the disk")


def test_a_full_memory_names_what_to_make_smaller():
    for error in (
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating [9,9]"),
    ):
        assert "--batch_size" in in_one_line(error)


@pytest.mark.parametrize(
    "text",
    [
        "Shapes are [1,66] and [1,65]. for '{{node a/concat}} = ConcatV2[N=2](b, c)'.",
        (
            "must be equal, but are 66 and 65 for '{{node a/Add}} = AddV2[T=DT_FLOAT](b, c)' "
            "with input shapes: [1,66], [1,65]."
        ),
    ],
)
def test_the_node_of_a_graph_is_no_part_of_a_reason(text):
    assert "node" not in plain(text) and plain(text).endswith(
        "65" if "must" in text else "]"
    )


def test_what_keras_and_tensorflow_refuse_is_a_line_without_colours_and_code(model):
    line = in_one_line(raised(model, np.zeros((1, 8, 8, 1))))
    assert line.startswith("keras refuses this: ") and "(1, 8, 8, 1)" in line
    assert "\n" not in line and "\x1b" not in line and "Arguments" not in line
    unknown = tf.TensorSpec([None], tf.float32)
    add = tf.function(lambda x, y: x + y, (unknown, unknown), autograph=False)
    line = in_one_line(raised(add, tf.zeros([3]), tf.zeros([4])))
    assert line.startswith("tensorflow refuses this: ") and "\n" not in line
    assert "3" in line and "defined at" not in line and "{{" not in line


def test_errors_while_a_graph_is_traced_are_told_by_their_last_sentence():
    @tf.function
    def traced(x):
        return tf.reshape(x, [7])

    text = reason(raised(traced, tf.zeros([3])))
    assert text.startswith("ValueError: ") and "File" not in text and "3" in text


def test_errors_of_our_own_code_keep_their_traceback():
    assert in_one_line(raised(lambda: {}["key"])) is None
    assert in_one_line(raised(int, "x")) is None
    assert in_one_line(raised(keras.layers.Conv2D)) is None  # called as no one can
    assert in_one_line(InputError("a line")) == "a line"


def test_messages_of_libraries_are_cut_and_end_where_a_sentence_ends():
    text = "\x1b[1mA merge\x1b[0m of shapes:\n\n  " + "long " * 100
    assert plain(text, 30) == "A merge of shapes: long long …"
    assert reason(ValueError("Received shapes:\n")) == "Received shapes"
    assert reason(ValueError()) == "ValueError"
    assert printable("a\nb") == "a\\nb"


def test_a_damaged_json_file_names_itself_and_a_remedy(tmp_path):
    (tmp_path / "run.json").write_text('{"specs": ')
    with pytest.raises(InputError, match=r"run.json is no JSON .Expecting.* delete it"):
        files.read_json(tmp_path / "run.json")
