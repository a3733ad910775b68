"""tfreuse: which parameters of a trained CNN can be reused in another network.

Synopsis::

    import tfreuse

    model = tfreuse.models.unet(num_classes=5)
    tfreuse.recalibrate(model, images)  # moving statistics from unlabelled images
    tfreuse.measure(donor, model, images, labels)  # which parameters can be reused
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
from typing import Any

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

# Functions, by the module that has them.
_FUNCTIONS = {"measure": "study.notebook", "recalibrate": "training.recalibrated"}

# Modules of version 0.1 and their successors; importable until version 0.3.
_RENAMED = {
    "advisor.spec": "specs.advice",
    "alignment": "transplant.alignment",
    "attribution": "analysis",
    "attribution.coalitions": "analysis.shapley",
    "attribution.heat": "analysis.significance",
    "attribution.moves": "analysis.reasons",
    "attribution.repairs": "analysis.ladder",
    "attribution.rows": "analysis.arms",
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
    "labels": "analysis.label_curves",
    "labels.results": "analysis.label_curves",
    "labels.spec": "specs.labels",
    "loading": "transplant.loading",
    "metrics": "analysis.metrics",
    "moving": "transplant",
    "networks": "models",
    "plugin": "report.plugin",
    "recalibration": "training.recalibration",
    "runners.spec": "specs.runner",
    "statistics": "analysis.intervals",
    "summaries": "training.summaries",
    "sweep": "training.sweep",
    "transfer": "few_labels",
    "transfer.fitting": "few_labels.fitting",
    "transfer.freezing": "few_labels.freezing",
    "transfer.recipes": "few_labels.recipes",
    "transfer.subsets": "few_labels.subsets",
    "verdicts": "analysis.verdicts",
    "verdicts.arms": "analysis.arms",
    "verdicts.caveats": "analysis.caveats",
    "verdicts.closeness": "analysis.closeness",
    "verdicts.images": "analysis.over_images",
    "verdicts.magnitude": "analysis.magnitude",
    "verdicts.prediction": "analysis.predictors",
}
# Functions and constants of these modules that have another name now.
_RENAMED_WITHIN = {
    "attribution.BASELINE": "analysis.predictors.BASELINE",
    "attribution.PLAYERS": "analysis.shapley.PLAYERS",
    "attribution.PREDICTORS": "analysis.predictors.PREDICTORS",
    "attribution.REASONS": "analysis.reasons.REASONS",
    "attribution.across": "analysis.predictors.across_architectures",
    "attribution.beyond_magnitude": "analysis.magnitude.rows",
    "attribution.excess": "analysis.reasons.excess",
    "attribution.ladder": "analysis.ladder.rows",
    "attribution.mark": "analysis.significance.mark",
    "attribution.predictors": "analysis.predictors.rows",
    "attribution.profiles": "analysis.paths.profiles",
    "attribution.reasons": "analysis.reasons.rows",
    "attribution.shapley": "analysis.shapley.rows",
    "attribution.significance": "analysis.significance.rows",
    "attribution.strength_path": "analysis.paths.strengths",
    "dashboards.write": "report.tensorboard.write_study",
    "hparams.write": "report.tensorboard.write_arms",
    "moving.about": "transplant.info",
    "moving.compare": "transplant.diff",
    "statistics.interval": "analysis.intervals.mean_interval",
    "statistics.intervals": "analysis.intervals.mean_intervals",
    "summaries.palette": "data.drawing.palette",
    "summaries.rgb": "data.drawing.rgb",
    "summaries.triptych": "data.drawing.triptych",
    "verdicts.declared": "analysis.verdicts.declared_parts",
}


class _Renamed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module by its former name, with one warning that names the successor.

    The former module has the attributes of its successor, and those of _RENAMED_WITHIN.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != __name__ or name not in _RENAMED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: types.ModuleType) -> None:
        former = module.__name__.removeprefix(f"{__name__}.")
        _warn(f"{__name__}.{former} is now {__name__}.{_RENAMED[former]}")
        successor = importlib.import_module(f"{__name__}.{_RENAMED[former]}")

        def attribute(name: str) -> Any:
            inner = f"{former}.{name}"
            if inner in _RENAMED_WITHIN:
                home, _, renamed = _RENAMED_WITHIN[inner].rpartition(".")
                return getattr(importlib.import_module(f"{__name__}.{home}"), renamed)
            if inner in _RENAMED:
                return importlib.import_module(f"{__name__}.{inner}")
            return getattr(successor, name)

        module.__getattr__ = attribute


def _warn(text: str) -> None:
    """Warns at the line that imports, below the frames of the import system."""
    frame = sys._getframe(1)
    inner = (__name__, "importlib", "importlib._bootstrap")
    while frame.f_back and frame.f_globals.get("__name__") in inner:
        frame = frame.f_back
    warnings.warn_explicit(
        f"{text}; the old name goes with version 0.3.",
        FutureWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
    )


sys.meta_path.append(_Renamed())


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
    if name in _PACKAGES or name in _RENAMED:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *_FUNCTIONS, *_PACKAGES]
