"""Settings as frozen dataclasses: one default, one unit and one help text for each field.

Synopsis::

    from tfreuse import specs

    spec = specs.TrainSpec(task="autoencoder", steps=500)
    spec.to_json()  # plain values; specs.TrainSpec.from_json(...) makes the spec again
    spec.digest     # SHA-256: equal specs are the same experiment

The command-line layer makes a flag of every field; the library takes the dataclasses. No module
here reads a flag or imports TensorFlow.
"""

from tfreuse.specs.advice import AdviceSpec
from tfreuse.specs.base import Spec, check_pattern, option
from tfreuse.specs.data import DataSpec, ReadingSpec, labels_of
from tfreuse.specs.given import GivenSpec
from tfreuse.specs.labels import FEW, RECIPES, SCRATCH, LabelSpec
from tfreuse.specs.model import (
    ARCHITECTURES,
    BLOCK_ORDERS,
    ENCODERS,
    KERAS,
    KERAS_CV,
    ModelSpec,
)
from tfreuse.specs.predict import (
    BATCH,
    FORMATS,
    STATISTICS,
    STORED,
    PredictSpec,
    check_format,
)
from tfreuse.specs.runner import RunnerSpec
from tfreuse.specs.study import (
    ALL_DIRECTIONS,
    CONTROLS,
    DIRECTIONS,
    KINDS,
    LINKS,
    ORDERS,
    RANDOM_CONTROLS,
    REPAIRS,
    SHARES,
    SITES,
    StudySpec,
)
from tfreuse.specs.train import (
    AUGMENTATIONS,
    CORRUPTIONS,
    LABELS,
    TASKS,
    DeviceSpec,
    TrainSpec,
)

__all__ = [
    "ALL_DIRECTIONS",
    "ARCHITECTURES",
    "AUGMENTATIONS",
    "BATCH",
    "BLOCK_ORDERS",
    "CONTROLS",
    "CORRUPTIONS",
    "DIRECTIONS",
    "ENCODERS",
    "FEW",
    "FORMATS",
    "KERAS",
    "KERAS_CV",
    "KINDS",
    "LABELS",
    "LINKS",
    "ORDERS",
    "RANDOM_CONTROLS",
    "RECIPES",
    "REPAIRS",
    "SCRATCH",
    "SHARES",
    "SITES",
    "STATISTICS",
    "STORED",
    "TASKS",
    "AdviceSpec",
    "DataSpec",
    "DeviceSpec",
    "GivenSpec",
    "LabelSpec",
    "ModelSpec",
    "PredictSpec",
    "ReadingSpec",
    "RunnerSpec",
    "Spec",
    "StudySpec",
    "TrainSpec",
    "check_format",
    "check_pattern",
    "labels_of",
    "option",
]
