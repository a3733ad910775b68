"""tfreuse: which parameters of a trained CNN can be reused in another network.

Synopsis::

    import tfreuse

    model = tfreuse.models.unet(num_classes=5)

Submodules are imported on first use, so that `import tfreuse` costs nothing and the
modules of the lowest floor never pull in TensorFlow.
"""

import importlib

__version__ = "0.1.0"

_SUBMODULES = (
    "data",
    "export",
    "models",
    "recalibration",
    "study",
    "training",
    "transplant",
)


def __getattr__(name):
    if name in _SUBMODULES:
        return importlib.import_module(f"tfreuse.{name}")
    raise AttributeError(f"module 'tfreuse' has no attribute {name!r}")
