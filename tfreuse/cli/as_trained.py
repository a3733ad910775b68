"""Sets a command's flags as in the training of a model, by MODEL.run.json or the run.json beside it."""

import pathlib
from collections.abc import Mapping, Sequence

from tfreuse.cli import app
from tfreuse.errors import printable
from tfreuse.specs import DataSpec, ReadingSpec

# Fields of DataSpec that belong to a network, not to its data set.
_OF_NETWORK = ("image_size", "channels", *ReadingSpec.__dataclass_fields__)


def take(model: str | pathlib.Path, names: Mapping[str, Sequence[str]]) -> list[str]:
    """Sets the flags that are not given to the values that a model was trained with.

    Args:
        model: the model file; see `app.trained`.
        names: of the flags, by the spec in run.json that holds their values.

    Returns:
        the flags that it changed, as --name=value.
    """
    changed, specs = [], app.trained(model)
    for part, fields in names.items():
        for name in fields:
            flag = app.FLAGS[name]
            if flag.present or name not in specs.get(part, {}):
                continue
            value = specs[part][name]
            if isinstance(value, list):
                value = [str(word) for word in value]
            if value != flag.value:
                flag.value = value
                changed.append(printable(flag.serialize()))
            flag.present = 1
    return changed


def take_data(model: str | pathlib.Path) -> list[str]:
    """Sets the data's flags that are not given to those of a model's training.

    Of another data set than the training's, only settings of the network are taken: size
    and channels of the images, and how their files are read.

    Returns:
        the flags that it changed, as --name=value.
    """
    dataset = app.trained(model).get("data", {}).get("dataset")
    if app.FLAGS["dataset"].present:
        is_other = app.FLAGS.dataset != dataset
    else:
        is_other = app.FLAGS["data_dir"].present and dataset != "folder"
    names = _OF_NETWORK if is_other else tuple(DataSpec.__dataclass_fields__)
    return take(model, {"data": names})
