"""tfreuse: which parameters of a trained CNN can be reused in another network.

Synopsis::

    import tfreuse

    model = tfreuse.models.unet(num_classes=5)
    dir(tfreuse)  # the public packages

Packages are imported on first use: `import tfreuse` loads neither TensorFlow nor NumPy.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
import warnings
from collections.abc import Sequence

__version__ = "0.2.0"

_PACKAGES = (
    "advisor",
    "analysis",
    "checkpoints",
    "data",
    "export",
    "few_labels",
    "models",
    "plan",
    "prediction",
    "records",
    "report",
    "runners",
    "specs",
    "study",
    "training",
    "transplant",
)

# Names of version 0.1 and their successors; importable until version 0.3.
_RENAMED = {
    "alignment": "transplant.alignment",
    "attribution": "analysis",
    "checkpoint": "models.saving",
    "contact_sheet": "data.contact_sheet",
    "dashboards": "report.tensorboard",
    "devices": "training.devices",
    "diff": "transplant.comparison",
    "downloads": "data.downloads",
    "evaluation": "training.evaluation",
    "folding": "training.folding",
    "fusion": "training.fusion",
    "hparams": "report.tensorboard",
    "labels": "analysis",
    "loading": "transplant.loading",
    "metrics": "analysis.metrics",
    "moving": "transplant",
    "networks": "models",
    "plugin": "report.plugin",
    "recalibration": "training.recalibration",
    "statistics": "analysis.intervals",
    "summaries": "training.summaries",
    "sweep": "training.sweep",
    "transfer": "few_labels",
    "verdicts": "analysis.verdicts",
}


class _Renamed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module by its former name as the module that succeeded it, with a warning."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.partition(".")
        first, _, rest = name.partition(".")
        if package != __name__ or first not in _RENAMED:
            return None
        successor = ".".join(filter(None, (package, _RENAMED[first], rest)))
        return importlib.machinery.ModuleSpec(fullname, self, origin=successor)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        warnings.warn(
            f"{spec.name} is now {spec.origin}; the old name goes with version 0.3.",
            FutureWarning,
            stacklevel=2,
        )
        successor = importlib.import_module(spec.origin)
        spec.loader_state = successor.__spec__
        return successor

    def exec_module(self, module: types.ModuleType) -> None:
        # The import system has put the former name's spec in its place.
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(_Renamed())


def __getattr__(name: str) -> types.ModuleType:
    if name in _PACKAGES or name in _RENAMED:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES})
