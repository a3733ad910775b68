"""The benchmark of reading state dicts: ratios by hand, and one small run where PyTorch is."""

import importlib.util

import pytest

from benchmarks import reading
from tfreuse.errors import InputError


def measured(file, reader, *seconds):
    return [{"file": file, "reader": reader, "s": s, "cpu_s": s / 2} for s in seconds]


def test_ratios_are_of_medians_to_the_file_in_both_readers():
    runs = [
        *measured(reading.ZIP, reading.TORCH, 0.2, 0.1, 9.0),
        *measured(reading.ZIP, reading.OURS, 0.1, 0.4, 0.3),
        *measured(reading.SAFETENSORS, reading.OURS, 0.1, 0.1, 0.1),
        *measured(reading.ZIP, reading.PLAN, 0.6, 0.4, 0.3),
        *measured(reading.SAFETENSORS, reading.PLAN, 0.2),
        *measured(reading.SAFETENSORS, reading.FORMER_PLAN, 0.8),
    ]
    targets = {
        target.text: (target.value, target.met) for target in reading.targets(runs)
    }
    assert targets == {
        "weights.pth, times the time of torch.load, copies": (pytest.approx(1.5), True),
        "weights.safetensors, times the time of torch.load, copies": (0.5, True),
        "transplant plan, weights.pth, seconds": (0.4, True),
        "transplant plan, weights.safetensors, seconds": (0.2, True),
    }
    text = reading.markdown(runs, reading.targets(runs))
    assert "| weights.pth | tfreuse | 3 | 300 | 200-350 | 150 | 1.50 | 1.50 |" in text
    assert "| weights.pth | transplant plan | 3 | 400 | 350-500 | 200 |  |  |" in text
    assert "| weights.safetensors | transplant plan | 1 | 200 |" in text
    assert text.count("| 100 | 0.25 | 0.25 |") == 1


def test_without_pytorch_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -e '.\[torch\]'"):
        reading.run(reading.Settings(), tmp_path)


def test_all_readers_give_the_same_values(tmp_path):
    pytest.importorskip("torch")
    settings = reading.Settings(runs=1, stages=((4, 1), (4, 1)), plans=False)
    runs = reading.run(settings, tmp_path)
    assert len(runs) == 7 and all(run["s"] > 0 for run in runs)
