"""What a study of label curves measures."""

import dataclasses

from tfreuse.errors import InputError
from tfreuse.specs.base import Spec, option
from tfreuse.specs.study import KINDS

# Names of `transfer.recipes.CATALOGUE`, in its order; a test holds the two together.
RECIPES = (
    "scratch", "fine_tuned", "fine_tuned_recalibrated", "encoder", "encoder_frozen",
    "prefix", "kernels", "affine_only", "head_only", "surgical", "moments",
)  # fmt: skip
SCRATCH = "scratch"  # what everything is held against
FEW = 8  # labels, at most which no rate is chosen: an inner split would hold two images


@dataclasses.dataclass(frozen=True)
class LabelSpec(Spec):
    """Label curves of a study: nothing of it is measured where `label_counts` is empty."""

    label_counts: tuple[int, ...] = option(
        (),
        "numbers of labelled training images to learn from, 0 for all; none: no label curves",
        low=0,
    )
    recipes: tuple[str, ...] = option(
        ("scratch", "fine_tuned", "encoder", "encoder_frozen", "head_only"),
        "label curves: ways to use a donor; scratch is needed, the others are held against it",
        choices=RECIPES,
    )
    label_donors: tuple[str, ...] = option(
        ("autoencoder", "masked"),
        "label curves: kinds of donors, trained on all training images",
        choices=tuple(kind for kind in KINDS if kind != "segmentation"),
    )
    label_steps: int = option(
        300, "label curves: optimizer updates of each fit, whatever its labels", low=1
    )
    learning_rates: tuple[float, ...] = option(
        (1e-3, 4e-3),
        "label curves: peak rates, one of which each fit chooses on a quarter of its own "
        f"labels; the first where there are {FEW} labels or fewer",
        low=0.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("label_counts", "recipes", "label_donors", "learning_rates"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise InputError(f"--{name} names something twice: {list(values)}.")
        if not self.label_counts:
            return
        if SCRATCH not in self.recipes:
            raise InputError(
                f"--recipes leaves {SCRATCH} out, which the others are held against; got "
                f"{list(self.recipes)}."
            )
        if not self.learning_rates:
            raise InputError("--learning_rates is empty; give at least one, e.g. 1e-3.")

    @property
    def fits(self) -> int:
        """Fits that one arm takes at one number of labels: each rate on trial, then the chosen."""
        rates = len(self.learning_rates)
        return 1 + rates if rates > 1 else 1

    def arms(self) -> list[tuple[str, str]]:
        """(kind of donor, recipe) of every arm; scratch has no donor and comes once."""
        found = [("", SCRATCH)] if SCRATCH in self.recipes else []
        others = [recipe for recipe in self.recipes if recipe != SCRATCH]
        return found + [(kind, name) for kind in self.label_donors for name in others]
