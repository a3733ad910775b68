"""The files of a benchmark model, and the digests that a correct output must have."""

import dataclasses
import hashlib
import io
import json
import pathlib
import zipfile

TINY, UNET, PSPNET, LARGE = "tiny", "unet", "pspnet", "large"
MODELS = {  # arguments of the network functions of tfreuse.models
    TINY: ("unet", {"width": 4, "depth": 2}),
    UNET: ("unet", {"width": 64, "depth": 4}),  # 31 M parameters, 124 MB
    PSPNET: ("pspnet", {"width": 64, "encoder": "resnet50"}),
    LARGE: ("unet", {"width": 128, "depth": 4}),  # 124 M parameters, 497 MB
}
STATISTICS = ("vars/2", "vars/3")  # moving mean, moving variance in a weights file


@dataclasses.dataclass(frozen=True)
class Case:
    """A donor and a recipient of one architecture in `folder`, and the run's own output."""

    model: str
    folder: pathlib.Path
    number: int = 0

    def file(self, side: str, suffix: str = ".keras") -> pathlib.Path:
        return self.folder / f"{self.model}_{side}{suffix}"

    def out(self, suffix: str = ".keras") -> pathlib.Path:
        return self.folder / f"out_{self.number}{suffix}"

    @property
    def facts(self) -> dict:
        return json.loads(self.file("facts", ".json").read_text())


def make(case: Case) -> None:
    """Writes donor and recipient in both of Keras's formats; imports TensorFlow."""
    facts = {}
    for seed, side in enumerate(("donor", "recipient")):
        model = build(case.model)
        scramble(model, seed)
        model.save(case.file(side))
        model.save_weights(case.file(side, ".weights.h5"))
        facts[side] = live_digests(model)
        facts["parameters"] = model.count_params()
        facts["variables"] = len(model.weights)
        facts["largest"] = max(4 * v.shape.num_elements() for v in model.weights)
    case.file("facts", ".json").write_text(json.dumps(facts))


def build(name: str):
    from tfreuse import models

    architecture, options = MODELS[name]
    return models.ARCHITECTURES[architecture](num_classes=2, **options)


def scramble(model, seed: int) -> None:
    """Draws every array anew: fresh statistics are all equal and would hide a mix-up."""
    import numpy as np

    draw = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(draw.uniform(0.5, 1.5, variable.shape).astype(variable.dtype))


def live_digests(model) -> dict[str, str]:
    """Returns the SHA-256 of every array of a live model by Keras's path."""
    return {v.path: _sha(v.value.numpy()) for v in model.weights}


def file_digests(path: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of every array of a file by its path; read by h5py, not tfreuse."""
    import h5py

    digests = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            digests[name] = _sha(item[()])

    source = path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(source, "r") as file:
        file.visititems(visit)
    return digests


def is_statistic(path: str) -> bool:
    """Returns whether a path in a weights file is a moving mean or moving variance."""
    layer, _, index = path.rpartition("/vars/")
    name = layer.rpartition("/")[2]
    return name.startswith("batch_normalization") and f"vars/{index}" in STATISTICS


def _sha(array) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
