"""Recipes: named ways to use a donor for a network with few labels.

    recipe = recipes.CATALOGUE["encoder_frozen"]
    print(recipe.describe())

A recipe selects the parameters that are taken from the donor, the parameters that are trained,
and the treatment of moving statistics in the layers that were taken. All recipes keep three
rules:

- A head belongs to its task: it is never taken, and it is trained unless nothing is.
- Untrained parameters keep their value, bit for bit; trained parameters start from the
  donor's or a fresh value.
- A layer of which nothing was taken uses batch statistics in training, and statistics
  re-estimated exactly at the end, in every recipe. So no recipe gains over another by moving
  averages that had too few steps to settle.
"""

import dataclasses
import re

from tfreuse import roles
from tfreuse.errors import InputError

_TAKES = re.compile(r"none|all|encoder|prefix:[1-9]\d*|stage:\w+")
_TRAINS = re.compile(r"all|decoder|affine|head|nothing|stage:\w+")
STATISTICS = ("moving", "kept", "recalibrated")
COPIES = ("values", "moments")

_TAKES_WORDS = {
    "all": "all stages but the head",
    "encoder": "the encoder (every stage before the decoder)",
}
_GROUPS_WORDS = {
    "all": "everything",
    "kernel": "the kernels",
    "conv": "kernels and biases",
    "affine": "gamma and beta",
    "stats": "the moving statistics",
}
_TRAINS_WORDS = {
    "all": "trains everything",
    "decoder": "trains only what was not taken",
    "affine": "trains only gamma, beta and the head",
    "head": "trains only the head",
    "nothing": "trains nothing",
}
_STATISTICS_WORDS = {
    "moving": "their statistics are moving averages that training updates",
    "kept": "they compute with the donor's statistics, in training too",
    "recalibrated": (
        "their statistics are re-estimated on unlabelled images, before training where they "
        "are frozen and at the end in any case"
    ),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Selects parameters to take from a donor and to train, and the treatment of statistics.

    Attributes:
        name: name of the recipe, in flags and records.
        takes: stages that are taken: "none", "all", "encoder" (all before the decoder),
            "prefix:K" (the first K) or "stage:NAME"; heads never. NAME is the name of a stage,
            or "first" or "last".
        groups: roles or groups that are taken of these stages.
        trains: "all", "decoder" (all that was not taken), "affine" (gamma and beta), "head",
            "stage:NAME" or "nothing"; all but the last include the head.
        statistics: treatment of batch normalization layers of which something was taken.
            "moving": batch statistics in training, which move the averages, Keras's default.
            "kept": the donor's, in training as at inference. "recalibrated": re-estimated on
            the recipient's unlabelled images before training and exactly at the end; between,
            untrained layers compute with these, trained layers with batch statistics.
        copies: "values", or "moments": fresh normal values with each array's mean and
            standard deviation (Raghu et al. 2019, arXiv:1902.07208, "Mean Var Init").
        advised: whether the advisor tries it; not where it asks which role carries a gain.
    """

    name: str
    takes: str
    groups: tuple[str, ...]
    trains: str
    statistics: str
    copies: str = "values"
    advised: bool = True

    def __post_init__(self) -> None:
        for field, allowed in (("takes", _TAKES), ("trains", _TRAINS)):
            if not allowed.fullmatch(getattr(self, field)):
                raise InputError(
                    f"recipe {self.name!r}: {field} is one of "
                    f"{allowed.pattern.replace('|', ', ')}; got {getattr(self, field)!r}."
                )
        for field, choices in (("statistics", STATISTICS), ("copies", COPIES)):
            if getattr(self, field) not in choices:
                raise InputError(
                    f"recipe {self.name!r}: {field} is one of {', '.join(choices)}; got "
                    f"{getattr(self, field)!r}."
                )
        if (self.takes == "none") != (not self.groups):
            raise InputError(
                f"recipe {self.name!r}: takes {self.takes!r} and groups {self.groups} do not "
                "fit; name the groups to take, and none for a recipe that takes nothing."
            )
        if self.groups:
            roles.expand(self.groups)  # raises InputError if there is no such group
        if self.copies == "moments" and self.groups != ("kernel",):
            raise InputError(
                f"recipe {self.name!r}: moments are copied of kernels alone; got groups "
                f"{self.groups}."
            )

    @property
    def needs_donor(self) -> bool:
        return self.takes != "none"

    def describe(self) -> str:
        """Returns a description in one sentence."""
        trains = _TRAINS_WORDS.get(self.trains) or (
            f"trains only the {_stage_word(self.trains)} and the head"
        )
        if not self.needs_donor:
            return f"Starts from fresh values and {trains}."
        stages = _TAKES_WORDS.get(self.takes) or f"the {_stage_word(self.takes)}"
        if self.copies == "moments":
            return (
                "Starts from fresh kernels with the mean and standard deviation of the "
                f"donor's in {stages} and {trains}."
            )
        groups = " and ".join(_GROUPS_WORDS.get(group, group) for group in self.groups)
        sentence = f"Takes {groups} of {stages} and {trains}"
        taken_roles = set(roles.expand(self.groups))
        if not taken_roles & {"gamma", "beta", "moving_mean", "moving_variance"}:
            return f"{sentence}."
        return f"{sentence}; {_STATISTICS_WORDS[self.statistics]}."


def _stage_word(selection: str) -> str:
    kind, _, name = selection.partition(":")
    if kind == "prefix":
        return f"first {name} stages" if name != "1" else "first stage"
    return f"{name} stage" if name in ("first", "last") else f"stage {name}"


def _catalogue(*recipes: Recipe) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in recipes}


# In the order of reports; `tfreuse.specs.labels.RECIPES` repeats the names for the flags.
CATALOGUE = _catalogue(
    Recipe("scratch", "none", (), "all", "recalibrated"),
    # The usual practice.
    Recipe("fine_tuned", "all", ("all",), "all", "moving"),
    Recipe("fine_tuned_recalibrated", "all", ("all",), "all", "recalibrated"),
    Recipe("encoder", "encoder", ("all",), "all", "recalibrated"),
    Recipe("encoder_frozen", "encoder", ("all",), "decoder", "kept"),
    # The roles of the encoder one by one; fresh kernels of the donor's scale as the control.
    *(
        Recipe(f"encoder_{name}", "encoder", (group,), "all", **options, advised=False)
        for name, group, options in (
            ("stats", "stats", {"statistics": "kept"}),
            ("affine", "affine", {"statistics": "recalibrated"}),
            ("kernels", "kernel", {"statistics": "recalibrated"}),
            ("moments", "kernel", {"statistics": "recalibrated", "copies": "moments"}),
        )
    ),
    Recipe("prefix", "prefix:2", ("all",), "all", "recalibrated"),
    Recipe("kernels", "all", ("kernel",), "all", "recalibrated"),
    Recipe("affine_only", "all", ("all",), "affine", "recalibrated"),
    Recipe("head_only", "all", ("all",), "head", "recalibrated"),
    Recipe("surgical", "all", ("all",), "stage:last", "recalibrated"),
    Recipe("moments", "all", ("kernel",), "all", "recalibrated", copies="moments"),
)
