"""plan.json: one training, told so that it can be repeated exactly, and checked before it is.

planfile.write(path, ...)          # by the advisor
plan = planfile.read(path)         # InputError if it is none, or of another meaning
planfile.check_files(plan)         # donor and recipient are the very files
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


@dataclasses.dataclass(frozen=True)
class PlanFile:
    """A plan that can be carried out.

    Attributes:
        name: of the plan: a recipe, with @2 for the second donor.
        recipe: what it does; {} of the recipe's fields must be what this version has.
        steps: optimizer updates.
        sha256: of donor files and the recipient's, by path as it was typed.
        images: digest of the labelled images with their masks; `labelled` their names.
        advice, data, model: the specs.
        about: what the advisor found; not needed to carry it out.
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
    told = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    for name in ("advice", "data", "model"):
        told[name] = told[name].to_json()
    files.write_json(path, {"format": FORMAT} | told)


def read(path: pathlib.Path) -> PlanFile:
    """The plan at `path`.

    Raises:
        InputError: it is no such file, or its recipe means something else in this version.
    """
    try:
        told = files.read_json(path)
        if told.pop("format") != FORMAT:
            raise ValueError("another format")
        told["labelled"] = tuple(told["labelled"])
        for name, kind in (
            ("advice", AdviceSpec),
            ("data", DataSpec),
            ("model", ModelSpec),
        ):
            told[name] = kind.from_json(told[name])
        plan = PlanFile(**told)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"--plan={path} is no plan that tools/advise.py wrote ({error}); expected its "
            "OUT_DIR/plan.json."
        ) from None
    ours = recipe_fields(plan.name)
    if plan.recipe != ours:
        raise InputError(
            f"--plan={path}: the recipe {plan.name} is {ours or 'not known'} in this version "
            f"of tfreuse, and was {plan.recipe}. Ask the advisor again."
        )
    return plan


def recipe_fields(name: str) -> dict[str, Any]:
    """The fields of a plan's recipe as plain JSON; {} if there is no such recipe."""
    recipe = recipes.CATALOGUE.get(name.partition("@")[0])
    if recipe is None:
        return {}
    return dataclasses.asdict(recipe) | {"groups": list(recipe.groups)}


def digests(spec: AdviceSpec) -> dict[str, str]:
    """SHA-256 of the model files that the spec names.

    Raises:
        InputError: one does not exist.
    """
    found = {}
    for path in (*spec.donor, *([spec.recipient] if spec.recipient else [])):
        if not pathlib.Path(path).is_file():
            raise InputError(
                f"model file {path} does not exist; expected a .keras file, as "
                "tools/train.py --out_dir=DIR writes DIR/model.keras."
            )
        found[path] = files.file_digest(path)
    return found


def check_files(plan: PlanFile) -> None:
    """Raises InputError unless donors and recipient are the files that the plan was made of."""
    for path, digest in digests(plan.advice).items():
        if digest != plan.sha256.get(path):
            raise InputError(
                f"{path} is not the file that the plan was made with (its SHA-256 differs). "
                "Give that file back its place, or ask the advisor again."
            )


def check_images(plan: PlanFile, digest: str) -> None:
    """Raises InputError unless the labelled images are those that the plan was made with."""
    if digest != plan.images:
        raise InputError(
            f"the labelled images in {plan.data.data_dir or plan.data.dataset} are not those "
            "that the plan was made with (their SHA-256 differs). Ask the advisor again."
        )
