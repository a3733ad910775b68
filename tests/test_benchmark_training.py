"""The benchmark of training: what is compared is the same computation, or has no time."""

import importlib.util
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import (
    fresh,
    networks,
    steps,
    table,
    training,
)
from benchmarks.training import KERAS, OURS, TORCH

UNET, PSPNET = networks.TINY
needs_torch = pytest.mark.skipif(
    not importlib.util.find_spec("torch"), reason="pip install 'tfreuse[torch]'"
)


def run(name, round_, speed, others=0.0):
    part = {"images_s": speed, "cpu_ms": 500 / speed, "others": others, "steps": 9}
    part["speed"] = speed
    about = {"case": UNET.name, "name": name, "round": round_, "flops": 10**10}
    return about | {"training": part, "inference": part, "device": "NVIDIA A100-SXM4"}


RUNS = [
    *(run(OURS, n, speed) for n, speed in enumerate((120, 100, 90))),
    *(run(TORCH, n, speed) for n, speed in enumerate((60, 100, 100))),
]


def test_a_ratio_is_of_runs_of_the_same_round():
    found = training.ratios(RUNS[1:], UNET.name, "training", OURS)
    np.testing.assert_allclose(found, [1.0, 0.9])  # the first has nothing beside it


def test_the_promise_is_the_median_ratio():
    text = f"{UNET.name}: training, times PyTorch's images a second"
    assert training.targets(RUNS)[0] == table.Target(text, 1.0, 1.0, at_least=True)
    assert training.targets(RUNS)[0].met
    slower = [run(OURS, 1, 99), *RUNS[3:]]
    assert not training.targets(slower)[0].met
    assert training.targets(RUNS[:3]) == []  # nothing to be held against


def test_a_row_tells_medians_and_spreads_and_on_a_gpu_the_share_of_its_peak():
    lines = training.markdown(RUNS, []).splitlines()
    row = next(line for line in lines if line.startswith(f"| {OURS}"))
    assert row == "| tfreuse | 3 | 100 | 90-120 | 1.00 | 0.90-2.00 | 5.00 | 0 |"
    settings = training.Settings(device="gpu")
    lines = training.markdown(RUNS, [], settings).splitlines()
    row = next(line for line in lines if line.startswith(f"| {OURS}"))
    assert row.endswith("| 3.0 | 1% |")  # 100 images of 3 x 10 GFLOP, of 312 TFLOP/s
    settings = training.Settings(device="gpu", peak_tflops=6)
    assert "| 3.0 | 50% |" in training.markdown(RUNS, [], settings)


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("Tesla T4", 65),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("a new one", 0),
        ("", 0),
    ],
)
def test_a_card_s_peak_is_known_by_its_name(card, peak):
    assert training.peak_of(card) == peak


def test_a_contestant_that_failed_has_no_time_but_its_reason():
    failed = {"case": UNET.name, "name": KERAS, "round": 0, "flops": 1, "error": "why"}
    assert "| Keras | why |" in training.markdown([*RUNS, failed], [])


ABOUT = {"parameters": 7, "losses": [2.0, 1.9, 1.8, 1.7, 1.6]}
SHOWN = np.array([1.0, -2.0])
RIGHT = {"parameters": 7, "shown": SHOWN, "losses": [*ABOUT["losses"], 0.5]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"parameters": 8}, "8 parameters, not 7"),
        ({"shown": SHOWN + 0.003}, "other logits"),
        ({"losses": [2.0, 1.9, 1.8, 1.7, 1.65, 0.5]}, "losses"),
        ({"losses": [*ABOUT["losses"], 2.1]}, "the loss does not fall"),
    ],
)
def test_what_does_not_compute_as_plain_keras_has_no_time(change, reason):
    assert steps.wrong(RIGHT | change, ABOUT, SHOWN, rough=False).startswith(reason)
    assert bool(reason) == bool(steps.wrong(RIGHT | change, ABOUT, SHOWN, rough=False))


def test_a_disturbed_run_is_made_again_and_the_better_one_stands(monkeypatch, tmp_path):
    tries = iter([run(OURS, 0, 50, others=0.5), run(OURS, 0, 60, others=0.2)])
    monkeypatch.setattr(fresh, "run_json", lambda *_: next(tries))
    found = training._once(training.Settings(), tmp_path, UNET, OURS)
    assert (found["training"]["images_s"], found["tries"]) == (60, 2)
    with pytest.raises(StopIteration):
        next(tries)


def test_on_one_processor_other_work_does_not_count(monkeypatch, tmp_path):
    monkeypatch.setattr(fresh, "run_json", lambda *_: run(OURS, 0, 50, others=0.9))
    for cores, speed, tries in ((1, 100, 1), (2, 50, 2)):
        found = training._once(training.Settings(cores=cores), tmp_path, UNET, OURS)
        assert (found["training"]["speed"], found["tries"]) == (speed, tries)


def test_other_work_is_told_from_one_s_own(monkeypatch):
    # seconds of all processors busy, idle, and busy with this process
    readings = iter([(10.0, 5.0, 2.0), (14.0, 7.0, 5.0)])
    monkeypatch.setattr(fresh.OtherLoad, "_now", lambda self: next(readings))
    assert fresh.OtherLoad().share() == pytest.approx(1 / 6)


def test_what_is_read_of_the_processors_grows_by_what_is_done():
    others = fresh.OtherLoad()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    busy, idle, own = (b - a for a, b in zip(others._before, others._now()))
    assert own == pytest.approx(0.3, abs=0.1)
    assert busy > own - 0.1
    assert idle >= 0


def test_turns_take_every_job_once_a_round_in_changing_order():
    found = list(fresh.turns("abcdef", 4, minutes=1))
    rounds = [[job for n, job in found if n == round_] for round_ in range(4)]
    assert all(sorted(jobs) == list("abcdef") for jobs in rounds)
    assert len({tuple(jobs) for jobs in rounds}) > 1
    assert len(list(fresh.turns("abc", 4, minutes=0))) == 3  # the first round alone


def test_without_pytorch_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'tfreuse[torch]'" in training.missing()
    assert training.missing() in training.markdown(RUNS, [])


def test_the_operations_of_a_network_are_counted():
    # width 4, depth 1 at 16x16: places x kernel numbers, times 2
    full = 3 * 9 * 4 + 4 * 9 * 4 + 8 * 9 * 4 + 4 * 9 * 4 + 4 * 5
    half = 4 * 9 * 8 + 8 * 9 * 8 + 8 * 4 * 4  # the last is the transposed one
    expected = 2 * (16 * 16 * full + 8 * 8 * half)
    assert networks.flops(networks.build(UNET), UNET.image_size) == expected


@needs_torch
@pytest.mark.parametrize("case", networks.TINY, ids=lambda case: case.name)
def test_the_networks_in_pytorch_compute_what_those_in_keras_do(case):
    import torch

    from benchmarks import torch_networks

    model = networks.build(case)
    draw = np.random.default_rng(0)
    for variable in model.weights:  # fresh values would hide a mix-up
        low, high = (0.5, 1.5) if variable.name == "moving_variance" else (-0.5, 0.5)
        variable.assign(draw.uniform(low, high, variable.shape))
    network = torch_networks.build(case.model, 3, networks.CLASSES).eval()
    values = {v.path: v.numpy() for v in model.weights}
    images = draw.random((2, *case.image_size, 3), dtype=np.float32)
    expected = model(images, training=False).numpy()
    with torch.no_grad():
        torch_networks.take_values(network, values)
        found = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    scale = np.abs(expected).max()
    found = found.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)
    del values["head_segmentation_conv/bias"]
    with pytest.raises(ValueError, match="head_segmentation_conv.bias"):
        torch_networks.take_values(network, values)


@pytest.mark.slow
@needs_torch
def test_one_command_measures_all_contestants(tmp_path):
    """The GPU's part, in its precision and compiled, at sizes that a CPU takes."""
    tool = pathlib.Path(__file__).parents[1] / "tools" / "benchmark.py"
    words = [sys.executable, str(tool), "training", "--tiny"]
    words += ["--device=gpu", "--runs=1", f"--out_dir={tmp_path}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert [one.get("error") for one in found["runs"]] == [None] * 6
    for case in networks.TINY:
        assert f"### {case.name}: inference" in (tmp_path / "benchmark.md").read_text()
    assert len(found["promises"]) == 4
