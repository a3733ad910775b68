"""ONNX and LiteRT: what the network computes, or no file; 8 bits with their price."""

import importlib.util

import numpy as np
import pytest
from nets import smallest
from test_cli import refused, tool

from tfreuse import data, export, files, models
from tfreuse.errors import InputError
from tfreuse.export import portable
from tfreuse.export.network import Network
from tfreuse.specs import ModelSpec

UNET = ModelSpec(architecture="unet", width=4, depth=2)
PSPNET = ModelSpec(architecture="pspnet", width=2)
needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("tf2onnx", "onnxruntime"))),
    reason="pip install -e '.[onnx]'",
)


def network(spec=UNET, task="segmentation"):
    model = models.build(spec, task=task, num_classes=3, seed=0)
    draw = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "task"), [(UNET, "autoencoder"), (PSPNET, "segmentation")]
)
def test_litert_computes_what_the_network_does(spec, task, tmp_path):
    model = network(spec, task)
    facts = export.convert(model, "litert", tmp_path, size=(24, 40))
    assert facts["check"]["largest_difference"] <= facts["check"]["tolerance"]
    run = portable.runner("litert", tmp_path / "model.tflite")
    images = np.random.default_rng(1).integers(0, 256, (2, 24, 40, 3), dtype=np.uint8)
    direct = "probabilities" if task == "segmentation" else "reconstruction"
    assert run(images)[direct].shape == (2, 24, 40, 3)


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("spec", [UNET, PSPNET], ids=["unet", "pspnet"])
def test_onnx_computes_what_the_network_does_at_any_size(spec, tmp_path):
    facts = export.convert(network(spec), "onnx", tmp_path)
    assert " and " in facts["check"]["images"]  # a size that fits, and an odd one
    run = portable.runner("onnx", tmp_path / "model.onnx")
    mask = run(np.zeros((3, 17, 9, 3), np.uint8))["mask"]
    assert mask.shape == (3, 17, 9)


@pytest.mark.slow
def test_8_bits_tell_their_price_with_its_interval(tmp_path, scenes, capfd):
    from tfreuse.specs import DataSpec

    spec = DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16))
    train, test = data.load(spec, "train", masks=False), data.load(spec, "test")
    facts = export.convert(
        network(), "litert_int8", tmp_path, size=(16, 16), calibration=train, test=test
    )
    # On stderr, LiteRT would write "fully_quantize: 0, inference_type: 6, ...".
    assert capfd.readouterr() == ("", "")
    loss = facts["loss"]
    assert loss["images"] == 8 and facts["calibrated_on"] == 32
    assert loss["low"] <= loss["difference"] <= loss["high"]
    assert loss["difference"] == loss["mean_iou_of_file"] - loss["mean_iou"]
    plain = export.convert(network(), "litert", tmp_path, size=(16, 16))
    assert facts["bytes"] < 0.6 * plain["bytes"]


def test_the_loss_of_the_network_itself_is_zero(scenes):
    from tfreuse.specs import DataSpec

    spec = DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16))
    held = [data.load(spec, "test").tensors[n].numpy() for n in ("image", "mask")]
    made = Network.of(network())

    def itself(images):
        return {"mask": np.argmax(made.model(images / np.float32(255)), -1)}

    found = portable.loss(made, itself, *held, -1)
    assert found["difference"] == found["low"] == found["high"] == 0
    found = portable.loss(made, lambda x: {"mask": 0 * itself(x)["mask"]}, *held, -1)
    assert found["difference"] != 0


@pytest.mark.slow
def test_what_differs_gets_no_name(tmp_path, monkeypatch):
    right = portable.runner

    def wrong(kind, path):
        return lambda images: {
            name: value + np.asarray(0.01, value.dtype)
            for name, value in right(kind, path)(images).items()
        }

    monkeypatch.setattr(portable, "runner", wrong)
    with pytest.raises(InputError, match="differs from the model by 0.01"):
        export.convert(smallest(), "litert", tmp_path, size=(16, 16))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_tool_takes_images_and_size_from_the_models_run(scenes, tmp_path):
    flags = ["--dataset=folder", f"--data_dir={scenes}", "--image_size=16,16"]
    flags += [
        "--width=2",
        "--depth=1",
        "--steps=2",
        "--batch_size=4",
        "--validations=1",
    ]
    run = tmp_path / "run"
    done = tool("train", *flags, "--labels=foreground", f"--out_dir={run}")
    assert done.returncode == 0, done.stderr
    out = f"--out_dir={tmp_path / 'served'}"
    model = f"--model={run / 'model.keras'}"
    done = tool("export", model, out, "--formats=litert_int8")
    assert done.returncode == 0, done.stderr
    assert (
        "interval over 8 test images; calibrated on 32 training images" in done.stdout
    )
    facts = files.read_json(tmp_path / "served" / "model_int8.json")
    assert facts["loss"]["mean_iou"] > 0.2  # of two classes, as it was trained

    (run / "model.keras").rename(tmp_path / "alone.keras")
    model = f"--model={tmp_path / 'alone.keras'}"
    refused(tool("export", model, out, "--formats=litert"), "there is no run.json")
    refused(tool("export", model, out, "--formats=tflite"), "some of onnx, litert,")


def test_what_is_not_installed_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(portable.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"onnx needs tf2onnx, .*'tfreuse\[onnx\]'"):
        portable.check_installed("onnx")
