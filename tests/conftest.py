"""What several test files share: a tiny data set on disk, and TensorFlow started quietly."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Containers often set it; every process that a test starts would compile all modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
import pytest
from PIL import Image

CLASSES = 3

# The test files that take longest begin first, so that no core idles at the end (setup.cfg).
LONGEST = (
    "study", "study_labels", "training", "encoders", "export_networks", "docs", "models",
    "advisor", "export", "sweep", "user_networks", "few_labels_fitting", "prediction",
    "devices", "transplant", "planted_truth", "export_portable", "runners_cluster",
    "custom_models", "checkpoints_safety", "records", "plugin", "transplant_tool",
    "own_networks", "cli", "intervals", "report_browser", "benchmark_sweep", "fusion",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_collection_finish():
    """Lets garbage collections pass over what was imported: 2 % of the processor time."""
    gc.freeze()


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder data set of 16 x 16 scenes whose colours tell their labels, 3 classes."""
    root = tmp_path_factory.mktemp("scenes")
    draw = np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 8), ("test", 8)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((16, 16), np.uint8)
            for label in range(1, CLASSES):
                top, left = draw.integers(0, 8, 2)
                mask[top : top + 8, left : left + 8] = label
            noise = draw.normal(0, 12, (16, 16, 3))
            colours = np.array([[40, 40, 40], [200, 60, 60], [60, 200, 90]])
            image = np.clip(colours[mask] + noise, 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{number:03}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{number:03}.png")
    return root
