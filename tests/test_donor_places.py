"""Donors in shards, in folders and in the Hub's cache; without a network, and without PyTorch."""

import json
import os
import pickle
import socket
import sys
import time
import types

import commands
import handmade_torch
import keras
import numpy as np
import pytest
from handmade_torch import refusal
from keras import layers

from tfreuse import checkpoints, transplant
from tfreuse.checkpoints import hub
from tfreuse.data import downloads
from tfreuse.errors import InputError

REPO, COMMIT = "some-org/small.net", "0123456789abcdef" * 2 + "01234567"
WRITERS = {
    ".safetensors": handmade_torch.save_safetensors,
    ".bin": lambda path, arrays: handmade_torch.save(path, tensors(arrays)),
    ".pth": lambda path, arrays: handmade_torch.save_legacy(path, tensors(arrays)),
}


def tensors(arrays):
    return {name: handmade_torch.tensor(array) for name, array in arrays.items()}


def state():
    draw = np.random.default_rng(0)
    shapes = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,)}
    norm = ("weight", "bias", "running_mean", "running_var")
    shapes |= {f"bn.{name}": (4,) for name in norm} | {"fc.weight": (2, 4)}
    return {
        n: draw.uniform(0.5, 1.5, shape).astype("f4") for n, shape in shapes.items()
    }


def read(path):
    with checkpoints.open(path) as file:
        return {(v.layer, v.role): file.read(v) for v in file.variables}


def shard(folder, suffix=".safetensors"):
    """Writes `state()` in two shards, the weight and the bias of a layer apart."""
    first = ("conv.weight", "bn.weight", "bn.running_var")
    path = folder / f"model{suffix}"
    return handmade_torch.shard(path, state(), WRITERS[suffix], first)


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "whole.pth"
    handmade_torch.save(path, tensors(state()))
    return read(path)


def same(values, others):
    assert values.keys() == others.keys()
    for key, value in values.items():
        np.testing.assert_array_equal(value, others[key])
    return True


# ------------------------------------------------------------------------------- shards


@pytest.mark.parametrize("suffix", WRITERS)
def test_shards_hold_what_one_file_would(suffix, tmp_path, whole):
    folder = tmp_path / "shards"
    folder.mkdir()
    index = shard(folder, suffix)
    assert same(read(index), whole)
    assert same(read(folder), whole)  # the index stands for its shards


def test_an_index_reads_no_other_file(tmp_path):
    index = shard(tmp_path)
    content = json.loads(index.read_text())
    for name in ("../a.safetensors", "/etc/passwd", "a\\..\\b.bin", 3, "x\0.bin", ""):
        index.write_text(json.dumps({"weight_map": {"conv.weight": name}}))
        assert "names a shard" in refusal(index)
    index.write_text(json.dumps(content))
    first = tmp_path / content["weight_map"]["conv.weight"]
    first.rename(tmp_path / "elsewhere")
    assert first.name in refusal(index)
    first.symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refusal(index)


def test_a_missing_shard_is_named_with_the_index_that_names_it(tmp_path):
    index = shard(tmp_path)
    lost = json.loads(index.read_text())["weight_map"]["conv.weight"]
    (tmp_path / lost).unlink()
    assert f"{index} names {lost}, which is not in its folder" in refusal(index)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<html>404</html>\n", "is a text file"),
        ("ä".encode() * 300, "is a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (pickle.dumps({"conv.weight": [1.0]}), "torch.save did not write"),
        (b"\x80", "is not a supported model file by its content"),
        (bytes(40), "is not a supported model file by its content"),
    ],
)
def test_a_file_called_pth_is_told_by_its_content(content, words, tmp_path):
    (tmp_path / "weights.pth").write_bytes(content)
    assert words in refusal(tmp_path / "weights.pth")


class Backbone(keras.Model):
    """A functional model of a class of its own, as KerasCV's: its file has no graph."""

    def __init__(self, **options):
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, name="stem")(inputs)
        x = layers.BatchNormalization(name="stem_bn")(x)
        outputs = layers.Dense(2, use_bias=False, name="head")(x)
        super().__init__(inputs=inputs, outputs=outputs, **options)

    def get_config(self):
        return {"name": self.name}


def test_a_recipient_without_graph_is_told_how_to_get_one(tmp_path, whole):
    backbone = Backbone(name="backbone")
    plain, graph = tmp_path / "plain.keras", tmp_path / "graph.keras"
    backbone.save(plain)
    keras.Model(backbone.input, backbone.output).save(graph)
    donor = tmp_path / "whole.pth"
    with pytest.raises(InputError) as caught:
        transplant.plan(donor, plain).check()
    said = "The recipient has no graph, by which PyTorch's layers are paired; if"
    assert said in str(caught.value) and "keras.Model(m.input, m.output)" in str(
        caught.value
    )
    transplant.apply(
        transplant.plan(donor, graph).check(), donor, graph, tmp_path / "out.keras"
    )
    moved = keras.models.load_model(tmp_path / "out.keras").get_layer("stem").kernel
    np.testing.assert_array_equal(moved.numpy(), whole["conv", "kernel"])


def test_shards_of_two_models_are_refused(tmp_path):
    index = shard(tmp_path)
    weight_map = json.loads(index.read_text())["weight_map"]
    for name, change in (
        ("conv.weight", {"conv.weight": weight_map["conv.bias"]}),
        ("more.weight", {"more.weight": weight_map["conv.bias"]}),
    ):
        index.write_text(json.dumps({"weight_map": weight_map | change}))
        assert "not of one model: only one of them has " + name in refusal(index)
    arrays = state()
    second = tmp_path / weight_map["conv.bias"]
    handmade_torch.save_safetensors(second, arrays)
    assert "two shards of" in refusal(index)
    second.write_bytes(b"no weights at all")
    assert "holds no weights of PyTorch" in refusal(index)


def network():
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(2, use_bias=False, name="fc")(x)
    return keras.Model(inputs, x)


@pytest.fixture(scope="module")
def recipient(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipient") / "recipient.keras"
    network().save(path)
    return path


def test_checksums_of_every_shard_are_checked(recipient, tmp_path, whole):
    index, out = shard(tmp_path, ".bin"), tmp_path / "out.keras"
    plan = transplant.plan(index, recipient).check()
    done = transplant.apply(plan, index, recipient, out)
    assert done.written.checked[str(index)] == checkpoints.CRC32
    transplant.verify(plan, index, recipient, out).check()
    assert same(read(out), whole)
    for number in (1, 2):
        place = tmp_path / f"model-0000{number}-of-00002.bin"
        good = place.read_bytes()
        array = next(iter(state().values())) if number == 1 else state()["bn.bias"]
        at = good.index(array.tobytes()) + 1
        place.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(InputError, match="CRC-32|checksum"):
            transplant.apply(plan, index, recipient, tmp_path / "other.keras")
        place.write_bytes(good)


# ------------------------------------------------------------------------------ folders


def test_a_folder_stands_for_its_only_weights(tmp_path, whole):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("config.json", "optimizer.pt", "training_args.bin", "rng_state_0.pth"):
        (folder / name).write_bytes(b"{}")
    assert "holds no file of weights" in refusal(folder)
    WRITERS[".pth"](folder / "anything.pth", state())
    assert same(read(folder), whole)
    WRITERS[".pth"](folder / "best.pth", state())
    message = refusal(folder)
    assert "2 files of weights: anything.pth, best.pth" in message
    assert f"Name one, such as {folder}/anything.pth" in message


def test_of_the_hubs_names_for_one_model_the_first_is_read_and_said(
    tmp_path, whole, recipient
):
    handmade_torch.save_safetensors(tmp_path / "model.safetensors", state())
    (tmp_path / "pytorch_model.bin").write_bytes(b"is not read")
    (tmp_path / "whole.pth").unlink()
    assert same(read(tmp_path), whole)
    plan = transplant.plan(tmp_path, recipient)
    said = "model.safetensors is read, not pytorch_model.bin"
    assert any(said in note for note in plan.notes)
    assert said in transplant.info(tmp_path)["text"]


# ---------------------------------------------------------------------------------- hub


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network: whatever asks for one gets no answer."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    with socket.socket() as taken:  # bound and not listening: refuses
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(downloads, "HUB", taken.getsockname())
        yield folder


def put(cache, files):
    """Puts files into the cache as huggingface_hub does: links to blobs."""
    repo = cache / f"models--{REPO.replace('/', '--')}"
    for folder in ("refs", "blobs", f"snapshots/{COMMIT}"):
        (repo / folder).mkdir(parents=True, exist_ok=True)
    (repo / "refs" / "main").write_text(COMMIT)
    for path in files:
        blob = repo / "blobs" / f"{len(os.listdir(repo / 'blobs')):064x}"
        blob.write_bytes(path.read_bytes())
        link = repo / "snapshots" / COMMIT / path.name
        link.symlink_to(os.path.relpath(blob, link.parent))
    return repo / "snapshots" / COMMIT


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    handmade_torch.save_safetensors(folder / "model.safetensors", state())
    return folder


def test_the_cache_is_read_by_name_and_file_and_commit(cache, weights, whole):
    put(cache, [weights / "model.safetensors"])
    for tail in (
        "",
        "/",
        "/model.safetensors",
        f"@{COMMIT}",
        "@main/model.safetensors",
    ):
        with checkpoints.open(f"hf://{REPO}{tail}") as file:
            assert file.name == f"hf://{REPO}@{COMMIT}/model.safetensors"
        assert same(read(f"hf://{REPO}{tail}"), whole)


def test_shards_in_the_cache_are_links_to_its_blobs(cache, weights, whole):
    (weights / "model.safetensors").unlink()
    shard(weights)
    place = put(cache, sorted(weights.iterdir()))
    assert same(read(f"hf://{REPO}"), whole)
    assert same(read(place), whole)  # the folder's path works too
    link = place / "model-00001-of-00002.safetensors"
    link.unlink()
    link.symlink_to(weights / link.name)  # equal bytes, but no blob of the cache
    assert "symbolic link" in refusal(f"hf://{REPO}")
    link.unlink()
    assert link.name in refusal(f"hf://{REPO}")


def test_the_tool_takes_an_address_wherever_it_takes_a_donor(
    cache, weights, whole, recipient, tmp_path
):
    put(cache, [weights / "model.safetensors"])
    files = f"--donor=hf://{REPO}", f"--recipient={recipient}"
    plan, out = tmp_path / "plan.json", tmp_path / "out.keras"
    done = commands.run("transplant", "plan", *files, f"--plan={plan}", "--download")
    assert done.returncode == 0, done.stderr
    followed = *files, f"--plan={plan}", f"--out={out}"
    done = commands.run("transplant", "apply", *followed)
    assert done.returncode == 0 and f"are hf://{REPO}'s" in done.stdout, done.stderr
    assert commands.run("transplant", "verify", *followed).returncode == 0
    assert same(read(out), whole)
    address = f"hf://{REPO}@{COMMIT}/model.safetensors"
    with checkpoints.open(out) as file:
        assert file.provenance["donor"]["file"] == address
    done = commands.run("transplant", "info", f"--model={out}")
    assert f"with variables of {address}" in done.stdout
    done = commands.run("transplant", "info", f"--model=hf://{REPO}")
    assert address in done.stdout
    plan.unlink()


def test_what_is_not_there_is_one_line(cache, weights):
    assert "is not on this disk" in refusal(f"hf://{REPO}")
    put(cache, [weights / "model.safetensors"])
    assert "other files of it (model.safetensors). --download" in refusal(
        f"hf://{REPO}/model.bin"
    )
    assert "other revisions of it" in refusal(f"hf://{REPO}@v2")
    for text in ("hf://", "hf://name", f"hf://{REPO}/../../x", f"hf://{REPO}@../x"):
        assert "is no address of the Hub" in refusal(text)


@pytest.mark.parametrize("installed", [True, False])
def test_without_a_network_a_download_ends_at_once(cache, monkeypatch, installed):
    package = types.ModuleType("huggingface_hub") if installed else None
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        downloads.fetch_weights(["", f"hf://{REPO}"])
    assert time.monotonic() - started < 2
    expected = "is not reached within 1.5 s" if installed else r"'tfreuse[hub]'"
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_what_the_cache_has_is_not_downloaded(cache, weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    put(cache, [weights / "model.safetensors"])
    downloads.fetch_weights([f"hf://{REPO}", "a.keras"])
    with pytest.raises(InputError, match="--download is for models hf://ORG/NAME"):
        downloads.fetch_weights(["a.keras", ""])


@pytest.mark.parametrize("tail", ["", "/model.safetensors.index.json"])
def test_a_download_gets_the_index_and_its_shards(
    cache, weights, whole, monkeypatch, tail
):
    """The package is stood in for; a listening socket stands for the network."""
    (weights / "model.safetensors").unlink()
    shard(weights)
    got = []

    def download(repo_id, filename, revision):
        assert (repo_id, revision) == (REPO, "main")
        got.append(filename)
        return put(cache, [weights / filename]) / filename

    package = types.ModuleType("huggingface_hub")
    package.list_repo_files = lambda repo_id, revision: [
        *("README.md", "onnx/model.onnx"),
        *(path.name for path in weights.iterdir()),
    ]
    package.hf_hub_download = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(downloads, "HUB", server.getsockname())
        downloads.fetch_weights([f"hf://{REPO}{tail}"])
    assert got == [
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert same(read(f"hf://{REPO}{tail}"), whole)


def test_the_packages_refusal_is_one_line(cache, monkeypatch):
    def refuse(**_):
        raise RuntimeError("401 Client Error.\n\nRepository Not Found for url: x.\n")

    package = types.ModuleType("huggingface_hub")
    package.list_repo_files = refuse
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(downloads, "HUB", server.getsockname())
        with pytest.raises(InputError, match="401 Client Error") as caught:
            downloads.fetch_weights([f"hf://{REPO}"])
    assert "\n" not in str(caught.value)


def test_the_cache_is_where_huggingface_hub_has_it(cache, weights, monkeypatch):
    package = pytest.importorskip("huggingface_hub")
    place = put(cache, [weights / "model.safetensors"])
    path = package.try_to_load_from_cache(REPO, "model.safetensors", cache_dir=cache)
    assert path == str(place / "model.safetensors")
    monkeypatch.delenv("HF_HUB_CACHE")
    assert str(hub.cache()) == package.constants.HF_HUB_CACHE
