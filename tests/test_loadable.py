"""The one diagnosis of `.keras` files, before Keras reads them."""

import io
import json
import zipfile

import handmade
import pytest

from tfreuse.checkpoints import loadable
from tfreuse.errors import InputError

LAYERS = handmade.model(1)


@pytest.fixture
def path(tmp_path):
    handmade.write_keras(tmp_path / "a.keras", LAYERS)
    loadable.check(tmp_path / "a.keras")
    return tmp_path / "a.keras"


def refused(path, words, flag="model"):
    with pytest.raises(InputError, match=words):
        loadable.check(path, flag)


def repacked(path, compression, change=lambda name, data: data):
    """The file's members as another program packs them."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    path.write_bytes(out.getvalue())


def test_names_that_lead_to_no_file_say_what_there_is(path, tmp_path):
    refused(
        tmp_path / "b.keras", "--model=.*b.keras: .* not exist; the folder has a.keras"
    )
    refused(tmp_path / "no" / "b.keras", "not exist; tools/train.py --out_dir=DIR")
    (tmp_path / "c.keras").mkdir()
    refused(tmp_path / "c.keras", "is a folder; expected a model file")
    (tmp_path / "c.keras" / "saved_model.pb").touch()
    refused(tmp_path / "c.keras", "is a SavedModel")
    path.rename(tmp_path / "a.h5")
    refused(tmp_path / "a.h5", r"model.save\('NAME.keras'\)")


def test_an_unzipped_folder_is_a_model_file(path, tmp_path):
    with zipfile.ZipFile(path) as packed:
        packed.extractall(tmp_path / "folder")
    loadable.check(tmp_path / "folder")
    (tmp_path / "folder" / "config.json").write_text("{")
    refused(tmp_path / "folder", "holds JSON that cannot be read")


def test_damage_is_named_as_the_reader_of_transplants_names_it(path):
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    refused(path, "does not end with a zip directory. It is truncated")
    path.write_bytes(data[:2000])
    refused(path, "does not end with a zip directory. It is truncated")
    for text in (b"", b"no model", b"\x00" * 2000):
        path.write_bytes(text)
        refused(path, "does not begin as a zip file does")
    path.write_bytes(handmade.weights_h5(LAYERS))
    refused(path, "holds HDF5, as files NAME.h5 of older Keras")
    middle = data.index(b"\x89HDF") + 3000  # in the weights
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    refused(path, "model.weights.h5 does not fit its CRC. The file is damaged")


def test_files_that_another_program_packed_are_read_if_they_are_whole(path):
    repacked(path, zipfile.ZIP_DEFLATED)
    loadable.check(path)
    data = path.read_bytes()
    path.write_bytes(data[:500] + b"\xff" * 20 + data[520:])
    refused(path, "compressed or encrypted")


def test_a_file_without_its_configuration_is_incomplete(path):
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("metadata.json", "{}")
    refused(path, "has no config.json; an interrupted save")


@pytest.mark.parametrize("function", [{"class_name": "__lambda__"}, ["4wEAAA", None]])
def test_a_lambda_is_code_that_is_not_run(path, function):
    def change(name, data):
        if name != "config.json":
            return data
        config = json.loads(data)
        inner = config["config"]["layers"][0]["config"]["layers"]
        layer = {"name": "double", "function": function}
        inner.append({"class_name": "Lambda", "config": layer, "name": "double"})
        return json.dumps(config).encode()

    repacked(path, zipfile.ZIP_STORED, change)
    refused(
        path, "its layer double is a Lambda, .* code in a file is not run. Put a layer"
    )


def test_a_lambda_of_a_named_function_is_left_to_keras(path):
    def change(name, data):
        config = json.loads(data) if name == "config.json" else None
        if config is None:
            return data
        function = {"module": "keras.ops", "class_name": "function", "config": "relu"}
        layer = {"name": "named", "function": function}
        config["config"]["layers"].append(
            {"class_name": "Lambda", "config": layer, "name": "named"}
        )
        return json.dumps(config).encode()

    repacked(path, zipfile.ZIP_STORED, change)
    loadable.check(path)
