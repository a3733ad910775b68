"""Studies of networks that exist: their files, and the blocks of arms that measure them.

    networks = GivenSpec(recipient="R.keras", donors=("A.pth",))
    settings = given.settings(networks, study, model, train, trained={})
    specs = design.Specs(data=data, **settings)
    specs.blocks()[0].parts["transfer"].file   # "A.pth": nothing is trained

One recipient with several donors has a block for each donor, which is its direction. Several
pairs (--pairs) are seeds of one direction. `reading` opens the files.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfreuse import checkpoints
from tfreuse.checkpoints import loadable
from tfreuse.errors import InputError, printable, reason
from tfreuse.specs import TASKS, GivenSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.study.blocks import Block, Network

CONTROLS = ("self", "reinitialised", "defaults", "angle")  # unless others are named
# Controls and links of networks that a study has to train.
_TRAINED = {
    "scrambled": "a network trained on scrambled images",
    "initial": "the initial values of the recipient's training",
}
_OF_TRAININGS = (
    "seeds", "architectures", "directions", "links", "retrials", "donor_updates",
)  # fmt: skip


class GivenBlock(Block):
    """All arms of one recipient that exists, with the parameters of one donor that exists."""

    @functools.cached_property
    def parts(self) -> dict[str, Network]:
        """The recipient, the donor, and for `other_seed` the recipient of another pair."""
        parts = {
            "recipient": self._recipient(self.seed),
            "transfer": self._donor(self.seed),
        }
        if "other_seed" in self.specs.study.controls:
            partner = self.seed ^ 1
            parts["other_seed"] = self._recipient(
                partner if partner < self.specs.study.seeds else 0
            )
        return parts

    def _recipient(self, seed: int) -> Network:
        return self._network("recipient", seed, self._files(seed)[0])

    def _donor(self, seed: int) -> Network:
        recipient, donor = self._files(seed)
        return self._network(self.kinds[0], seed, donor, recipient)

    def _network(self, kind: str, seed: int, file: str, into: str = "") -> Network:
        train = self.specs.train
        return Network(
            f"{kind}-{seed}",
            self.model,
            dataclasses.replace(train, seed=train.seed + seed),
            file=file,
            into=into,
        )

    def _files(self, seed: int) -> Sequence[str]:
        """Returns the recipient's and the donor's file of a seed."""
        given = self.specs.given
        number = seed
        if not given.pairs:
            number = self.specs.study.directions.index(self.direction)
        return given.files[2 * number : 2 * number + 2]


def read(spec: GivenSpec) -> GivenSpec:
    """Returns the spec with the files of its pairs and their digests.

    Raises:
        InputError: a file is missing or cannot be read, or a pair is named twice.
    """
    pairs = [(spec.recipient, donor) for donor in spec.donors]
    if spec.pairs:
        pairs = _pairs(spec.pairs)
    if len(set(pairs)) < len(pairs):
        twice = next(pair for pair in pairs if pairs.count(pair) > 1)
        raise InputError(
            f"{'--pairs' if spec.pairs else '--donors'} names {printable(twice[1])} twice for "
            f"{printable(twice[0])}; name each donor once."
        )
    names = [name for pair in pairs for name in pair]
    digests = {name: digest(name) for name in dict.fromkeys(names)}
    return dataclasses.replace(
        spec, files=tuple(names), digests=tuple(digests[name] for name in names)
    )


def digest(path: str) -> str:
    """Returns the SHA-256 of the arrays of a model file, with their names, roles and shapes.

    Of a `.keras` file also of its structure, but not of the date in it. Files of several parts, and folders, count as one.
    """
    sums = hashlib.sha256()
    with checkpoints.open(path) as checkpoint:
        for variable in checkpoint.variables:
            sums.update(f"{variable}{checkpoint.digest(variable)}".encode())
    if path.rstrip("/").endswith(".keras"):
        structure = loadable.structure(path).get("config")
        sums.update(json.dumps(structure, sort_keys=True).encode())
    return sums.hexdigest()


def _pairs(path: str) -> list[tuple[str, str]]:
    """Reads a file of pairs: lines of two words, or a JSON list of lists of two texts."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--pairs={printable(path)} cannot be read: {reason(error)}."
        ) from error
    lines = [line.split("#")[0].split() for line in text.splitlines()]
    pairs: Any = [words for words in lines if words]
    if text.lstrip().startswith("["):
        try:
            pairs = json.loads(text)
        except ValueError as error:
            raise InputError(
                f"--pairs={printable(path)} is no JSON ({reason(error, 80)}); expected "
                '[["R.keras", "D.keras"], ...].'
            ) from error
    for pair in pairs:
        if not isinstance(pair, list) or [type(word) for word in pair] != [str, str]:
            raise InputError(
                f"--pairs={printable(path)}: expected a recipient and a donor a line, such as "
                f"r0.keras d0.keras; got {printable(pair, 80)}."
            )
    if len(pairs) < 2:
        raise InputError(
            f"--pairs={printable(path)} has {len(pairs)} pairs; expected at least two, which "
            "count as seeds. Of one pair give --recipient and --donors."
        )
    return [tuple(pair) for pair in pairs]


def settings(
    spec: GivenSpec,
    study: StudySpec,
    model: ModelSpec,
    train: TrainSpec,
    trained: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the specs of a study of networks that exist, by name, for `design.Specs`.

    Args:
        spec: which networks; their files are read.
        study, model, train: the settings of the flags.
        trained: task, labels and corruption of the recipient's training, as far as known.

    Raises:
        InputError: a setting is of trainings, a control needs networks that nobody trained, the
            task is not known, or a file cannot be read.
    """
    for name in _OF_TRAININGS:
        if getattr(study, name) != getattr(StudySpec, name):
            raise InputError(
                f"--{name} is of networks that a study trains; leave it out, or --recipient, "
                "--donors and --pairs."
            )
    if model.model:
        raise InputError(
            "--model is a structure to train, --recipient a network that exists; give one."
        )
    spec = read(spec)
    recipients, donors = spec.files[::2], spec.files[1::2]
    task = _task(spec, recipients[0], trained)
    names = ["donor"] if spec.pairs else _names(donors)
    seeds = len(recipients) if spec.pairs else 1
    training = {k: trained[k] for k in ("labels", "corruption") if k in trained}
    return {
        "given": spec,
        "study": dataclasses.replace(
            study,
            seeds=seeds,
            directions=tuple(f"{name}-to-{task}" for name in names),
            controls=_controls(study.controls, seeds),
        ),
        "model": dataclasses.replace(model, model=recipients[0]),
        "train": train.for_task(
            task, **(training if trained.get("task") == task else {})
        ),
    }


def _task(spec: GivenSpec, recipient: str, trained: Mapping[str, Any]) -> str:
    """Returns the task of the flag, else of the training, else by the names of layers."""
    if spec.task != "auto":
        return spec.task
    if trained.get("task") in TASKS:
        return trained["task"]
    with checkpoints.open(recipient) as checkpoint:
        layers = {variable.layer for variable in checkpoint.variables}
    for task in TASKS:
        if f"head_{task}_conv" in layers:
            return task
    raise InputError(
        f"nothing says whether {printable(recipient)} gives classes or an image: type "
        "--task=segmentation or --task=autoencoder."
    )


def _controls(controls: tuple[str, ...], seeds: int) -> tuple[str, ...]:
    """Returns the controls to measure; those of the flag's default as far as they can be."""
    if controls == StudySpec.controls:
        return CONTROLS
    for name in controls:
        needed = _TRAINED.get(name)
        if name == "other_seed" and seeds == 1:
            needed = "a second network of the recipient's task: give --pairs"
        if needed:
            possible = [c for c in controls if c not in (*_TRAINED, "other_seed")]
            raise InputError(
                f"--controls: {name} needs {needed}; type --controls="
                f"{','.join(possible) or 'self'}."
            )
    if "self" not in controls:
        raise InputError(
            "--controls needs self among networks that exist: intervals over images compare "
            f"with it; type --controls=self,{','.join(controls)}".rstrip(",")
            + "."
        )
    return controls


def _names(paths: Sequence[str]) -> list[str]:
    """Returns a short name for each file: its own, with folders where it is not unique."""
    parts = [pathlib.PurePath(path.rstrip("/")).parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = [_safe("_".join(words[-count:])) for words in parts]
        names = ["donor" if name == "recipient" else name for name in names]
        if len(set(names)) == len(names):
            return names
    return [f"{name}_{number}" for number, name in enumerate(names)]


def _safe(name: str) -> str:
    """Returns a name for files and records, without the ending of a format."""
    name = re.sub(
        r"\.(keras|weights\.h5|h5|pth|pt|bin|safetensors|onnx|npz)$", "", name
    )
    return re.sub(r"\W+", "_", name).strip("_") or "donor"
