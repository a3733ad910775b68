"""Reads and writes plan.json: the description of one training, exact enough to repeat it.

planfile.write(path, plan)
plan = planfile.read(path)
planfile.check_files(plan)           # donor and recipient are the same files
planfile.check_images(plan, digest)  # and so are the labelled images
"""

import dataclasses
import pathlib
from typing import Any

from tfreuse import files
from tfreuse.errors import InputError
from tfreuse.few_labels import recipes
from tfreuse.specs import DataSpec, ModelSpec
from tfreuse.specs.advice import AdviceSpec

FORMAT = "tfreuse advice plan 1"
SPECS = {"advice": AdviceSpec, "data": DataSpec, "model": ModelSpec}


@dataclasses.dataclass(frozen=True)
class PlanFile:
    """The content of a plan.json.

    Attributes:
        name: of the plan: a recipe, with @2 for the second donor.
        recipe: the recipe's fields; they must equal those of this version of tfreuse.
        steps: optimizer updates.
        sha256: of the donors' files and the recipient's, by path as it was typed.
        images: digest of the labelled images with their masks.
        labelled: names of the labelled images.
        advice, data, model: the specs.
        about: the advisor's evidence, for a reader; the training does not use it.
    """

    name: str
    recipe: dict[str, Any]
    steps: int
    sha256: dict[str, str]
    images: str
    labelled: tuple[str, ...]
    advice: AdviceSpec
    data: DataSpec
    model: ModelSpec
    about: dict[str, Any]


def write(path: pathlib.Path, plan: PlanFile) -> None:
    """Writes the plan as JSON."""
    values = {
        field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)
    }
    for name in SPECS:
        values[name] = values[name].to_json()
    files.write_json(path, {"format": FORMAT} | values)


def read(path: pathlib.Path) -> PlanFile:
    """Reads the plan at `path`.

    Raises:
        InputError: it is no such file, or its recipe has other fields in this version.
    """
    try:
        values = files.read_json(path)
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
        values["labelled"] = tuple(values["labelled"])
        for name, spec in SPECS.items():
            values[name] = spec.from_json(values[name])
        plan = PlanFile(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"--plan={path} is no plan that tools/advise.py wrote ({error}); expected its "
            "OUT_DIR/plan.json."
        ) from None
    current = recipe_fields(plan.name)
    if plan.recipe != current:
        raise InputError(
            f"--plan={path}: the recipe {plan.name} is {current or 'not known'} in this version "
            f"of tfreuse, and was {plan.recipe}. Ask the advisor again."
        )
    return plan


def recipe_fields(name: str) -> dict[str, Any]:
    """Returns the fields of a plan's recipe as plain JSON; {} if there is no such recipe."""
    recipe = recipes.CATALOGUE.get(name.partition("@")[0])
    if recipe is None:
        return {}
    return dataclasses.asdict(recipe) | {"groups": list(recipe.groups)}


def digests(spec: AdviceSpec) -> dict[str, str]:
    """Computes the SHA-256 of the model files that the spec names, by path.

    Raises:
        InputError: one does not exist.
    """
    sha256 = {}
    for path in (*spec.donor, *([spec.recipient] if spec.recipient else [])):
        if not pathlib.Path(path).is_file():
            raise InputError(
                f"model file {path} does not exist; expected a .keras file, as "
                "tools/train.py --out_dir=DIR writes DIR/model.keras."
            )
        sha256[path] = files.file_digest(path)
    return sha256


def check_files(plan: PlanFile) -> None:
    """Checks that donors and recipient are the files that the plan was made with.

    Raises:
        InputError: one is missing or differs.
    """
    for path, digest in digests(plan.advice).items():
        if digest != plan.sha256.get(path):
            raise InputError(
                f"{path} is not the file that the plan was made with (its SHA-256 differs). "
                "Put that file back, or ask the advisor again."
            )


def check_images(plan: PlanFile, digest: str) -> None:
    """Checks that the labelled images are those that the plan was made with.

    Raises:
        InputError: their digest differs.
    """
    if digest != plan.images:
        raise InputError(
            f"the labelled images in {plan.data.data_dir or plan.data.dataset} are not those "
            "that the plan was made with (their SHA-256 differs). Ask the advisor again."
        )
