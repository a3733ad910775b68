"""Settings of a study's label curves."""

import dataclasses

from tfreuse.errors import InputError, printable
from tfreuse.specs.base import Spec, option
from tfreuse.specs.study import KINDS

# Names of `few_labels.recipes.CATALOGUE`, in its order; a test keeps the two in step.
RECIPES = (
    "scratch", "fine_tuned", "fine_tuned_recalibrated", "encoder", "encoder_frozen",
    "encoder_stats", "encoder_affine", "encoder_kernels", "encoder_moments", "prefix", "kernels",
    "affine_only", "head_only", "surgical", "moments",
)  # fmt: skip
PRETRAINED = "pretrained"  # a donor that the study does not train: --encoder_weights
LABELLED = ("segmentation", "foreground")  # donors that learn from masks
SCRATCH = "scratch"  # the baseline of every curve
FEW = 8  # labels up to which no rate is chosen: a quarter of them would be two images


@dataclasses.dataclass(frozen=True)
class LabelSpec(Spec):
    """Label curves of a study; none are measured where `label_counts` is empty."""

    label_counts: tuple[int, ...] = option(
        (),
        "label curves: numbers of labelled training images, 0 for all; empty: no label curves",
        low=0,
    )
    recipes: tuple[str, ...] = option(
        ("scratch", "fine_tuned", "encoder", "encoder_frozen", "head_only"),
        "label curves: ways to use a donor; scratch, without a donor, is the baseline and must "
        "be listed",
        choices=RECIPES,
    )
    label_donors: tuple[str, ...] = option(
        ("autoencoder", "masked"),
        "label curves: tasks of the donors, trained on all training images, each with the "
        "options in which its training, network or number of images differs, e.g. "
        "masked,masked:skips=false,masked:steps=100,masked:train_examples=64; "
        "segmentation and foreground learn from all labels: upper bounds of a donor, no saving; "
        "pretrained: no training, the encoder with its --encoder_weights",
        choices=(*KINDS, PRETRAINED),
        also=f"({'|'.join(KINDS)})(:[^:]+)+",
    )
    label_steps: int = option(
        300,
        "label curves: optimizer updates of each fit, for any number of labels",
        low=1,
    )
    learning_rates: tuple[float, ...] = option(
        (1e-3, 4e-3),
        "label curves: peak learning rates; each fit chooses one on a quarter of its own "
        f"labels, or takes the first where it has {FEW} labels or fewer",
        low=0.0,
    )

    def __post_init__(self) -> None:
        for donor in self.label_donors:
            if donor.startswith(f"{PRETRAINED}:"):
                raise InputError(
                    f"--label_donors: {PRETRAINED} takes no options, since it is not trained in the "
                    f"study; got {printable(donor)!r}."
                )
        super().__post_init__()
        for name in ("label_counts", "recipes", "label_donors", "learning_rates"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise InputError(f"--{name} names something twice: {list(values)}.")
        if not self.label_counts:
            return
        if SCRATCH not in self.recipes:
            raise InputError(
                f"--recipes leaves {SCRATCH} out, the baseline of all others; got "
                f"{list(self.recipes)}."
            )
        if not self.learning_rates:
            raise InputError("--learning_rates is empty; give at least one, e.g. 1e-3.")

    @property
    def donors(self) -> tuple[str, ...]:
        """The donors that a recipe needs: none where all start from scratch."""
        return self.label_donors if set(self.recipes) != {SCRATCH} else ()

    def rates(self, labels: int) -> tuple[float, ...]:
        """Returns the peak learning rates that an arm of so many labels chooses from."""
        return self.learning_rates[:1] if labels <= FEW else self.learning_rates

    def fits(self, labels: int = FEW + 1) -> int:
        """Fits for one arm of so many labels: a trial for each rate, then the final one."""
        rates = len(self.rates(labels))
        return 1 + rates if rates > 1 else 1

    def arms(self) -> list[tuple[str, str]]:
        """Lists (kind of donor, recipe) of every arm; scratch has no donor and comes once."""
        scratch = [("", SCRATCH)] if SCRATCH in self.recipes else []
        recipes = [recipe for recipe in self.recipes if recipe != SCRATCH]
        return scratch + [
            (kind, name) for kind in self.label_donors for name in recipes
        ]
