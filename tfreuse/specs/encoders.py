"""Names the encoders of other libraries, without importing them, which takes seconds."""

import functools
import importlib.util
import pathlib
import re
from collections.abc import Sequence

from tfreuse.errors import InputError, nearest, printable

KERAS, KERAS_CV = "keras.", "keras_cv."  # prefixes of other libraries' encoders
EFFICIENTNET_LITE = "EfficientNetLiteB0"
_RESNETS = "ResNet18", "ResNet34", "ResNet50", "ResNet101", "ResNet152"
# In V2, batch normalization and ReLU precede each convolution.
_BACKBONES = (
    *(f"{n}{version}" for n in _RESNETS for version in ("", "V2")),
    EFFICIENTNET_LITE,
)


def check(name: str) -> None:
    """Raises InputError where a library has no encoder of this name."""
    for prefix, names in ((KERAS, _applications), (KERAS_CV, lambda: _BACKBONES)):
        architecture = name.removeprefix(prefix)
        if name.startswith(prefix) and architecture not in names():
            near = ", ".join(prefix + n for n in nearest(architecture, names()))
            raise InputError(
                f"there is no --encoder={printable(name)}; nearest: {near}."
            )


@functools.cache
def _applications() -> Sequence[str]:
    """Returns the networks of keras.applications, as its source lists them."""
    (folder,) = importlib.util.find_spec("keras").submodule_search_locations
    text = pathlib.Path(folder, "applications", "__init__.py").read_text("utf-8")
    return re.findall(r"import (?:\(\s*)?([A-Z]\w*) as \1\b", text)
