"""The ways to use a donor for a network with few labels: each has one name and one meaning.

    recipe = recipes.CATALOGUE["encoder_frozen"]
    print(recipe.describe())

A recipe says what is taken from the donor, what is trained then, and what becomes of the
moving statistics of the layers that were taken. Three rules hold for all of them:

- A head belongs to its task: it is never taken, and it is trained wherever anything is.
- What is not trained keeps its value, bit for bit, and what is trained starts from its taken
  or fresh value.
- Statistics of layers of which nothing was taken are their own in every recipe: batch
  statistics in training, exactly re-estimated at the end. So no recipe gains over another by
  moving averages that had too few steps to settle.
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
    "kept": "they go on computing with the donor's statistics, in training too",
    "recalibrated": (
        "their statistics are re-estimated on unlabelled images, before training where they "
        "are frozen and at the end in any case"
    ),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is taken from a donor, what is trained, what becomes of the statistics.

    Attributes:
        name: of the recipe; records hold it.
        takes: stages that are taken: "none", "all", "encoder" (all before the decoder),
            "prefix:K" (the first K) or "stage:NAME"; heads never. A NAME is a stage's, or
            "first" or "last".
        groups: roles or groups that are taken of these stages.
        trains: "all", "decoder" (all but what was taken), "affine" (gamma and beta), "head",
            "stage:NAME" or "nothing"; the head with each but the last.
        statistics: of batch normalization layers of which something was taken. "moving":
            batch statistics in training, which move the averages, as Keras does by default.
            "kept": the donor's, in training as at inference. "recalibrated": re-estimated on
            the recipient's unlabelled images before training and exactly at the end; between,
            a layer that is not trained computes with them, and one that is with its batch's.
        copies: "values", or "moments": fresh normal numbers with each array's mean and
            standard deviation (Raghu et al. 2019, arXiv:1902.07208, "Mean Var Init").
    """

    name: str
    takes: str
    groups: tuple[str, ...]
    trains: str
    statistics: str
    copies: str = "values"

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
                "fit; name the groups of what is taken, and none where nothing is."
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
        """One plain sentence."""
        trains = _TRAINS_WORDS.get(self.trains) or (
            f"trains only the {_stage_word(self.trains)} and the head"
        )
        if not self.needs_donor:
            return f"Starts from fresh values and {trains}."
        where = _TAKES_WORDS.get(self.takes) or f"the {_stage_word(self.takes)}"
        if self.copies == "moments":
            return (
                "Starts from fresh kernels with the mean and standard deviation of the "
                f"donor's in {where} and {trains}."
            )
        what = " and ".join(_GROUPS_WORDS.get(group, group) for group in self.groups)
        sentence = f"Takes {what} of {where} and {trains}"
        taken = set(roles.expand(self.groups))
        if not taken & {"gamma", "beta", "moving_mean", "moving_variance"}:
            return f"{sentence}."
        return f"{sentence}; {_STATISTICS_WORDS[self.statistics]}."


def _stage_word(selection: str) -> str:
    kind, _, name = selection.partition(":")
    if kind == "prefix":
        return f"first {name} stages" if name != "1" else "first stage"
    return f"{name} stage" if name in ("first", "last") else f"stage {name}"


def _catalogue(*found: Recipe) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in found}


# In the order of reports; `specs.RECIPES` names them too, for the flags.
CATALOGUE = _catalogue(
    Recipe("scratch", "none", (), "all", "recalibrated"),
    # what most people do
    Recipe("fine_tuned", "all", ("all",), "all", "moving"),
    Recipe("fine_tuned_recalibrated", "all", ("all",), "all", "recalibrated"),
    Recipe("encoder", "encoder", ("all",), "all", "recalibrated"),
    Recipe("encoder_frozen", "encoder", ("all",), "decoder", "kept"),
    Recipe("prefix", "prefix:2", ("all",), "all", "recalibrated"),
    Recipe("kernels", "all", ("kernel",), "all", "recalibrated"),
    Recipe("affine_only", "all", ("all",), "affine", "recalibrated"),
    Recipe("head_only", "all", ("all",), "head", "recalibrated"),
    Recipe("surgical", "all", ("all",), "stage:last", "recalibrated"),
    Recipe("moments", "all", ("kernel",), "all", "recalibrated", copies="moments"),
)
