"""Checks a command's files and settings before TensorFlow is imported, which takes seconds.

Each function raises InputError. Files and settings are checked again where they are used.
"""

import pathlib
from collections.abc import Sequence

from tfreuse import checkpoints, data, rundir
from tfreuse.checkpoints import loadable
from tfreuse.cli import app
from tfreuse.errors import InputError
from tfreuse.specs import DataSpec, ModelSpec, Spec, sizes


def model_file(flag: str) -> None:
    """Checks the file of a flag that must be given."""
    path = app.FLAGS[flag].value
    if not path:
        raise InputError(f"--{flag} is not given: expected a model file, NAME.keras.")
    loadable.check(path, flag)


def network(spec: ModelSpec, data_spec: DataSpec) -> None:
    """Checks the network's file, or its options and the size of the images."""
    if spec.model.endswith(".keras"):
        loadable.check(spec.model, "model")
    elif not spec.model:
        spec.check_options()
        sizes.check_sides(spec, data_spec.image_size)
        if spec.encoder_weights:
            with checkpoints.open(spec.encoder_weights):
                pass  # its structure is checked without TensorFlow


def run(
    path: pathlib.Path,
    specs: dict[str, Spec],
    splits: Sequence[str] = data.SPLITS,
    masks: bool = True,
) -> None:
    """Checks a run's settings, and that the files of its data are there.

    Args:
        path: JSON file in which a run that was begun has its settings. Its data were checked,
            and a finished run does not need them again.
        specs: the settings by name; "data" is that of the data set.
        splits: splits that the run reads.
        masks: whether it reads their masks.
    """
    if app.FLAGS.out_dir and path.exists():
        rundir.claim(path, specs)
    else:
        data.check_files(specs["data"], splits, masks)
