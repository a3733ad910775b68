"""The four claims of Wang (arXiv:2008.03414) as statements about retention: H1 to H4."""

import dataclasses

from tfreuse import specs
from tfreuse.analysis import bounded, intervals


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A claim about retention, and the side of the threshold that supports it.

    Of two groups the effect is the difference, first minus second, and the threshold is 0.
    """

    name: str
    statement: str
    groups: tuple[str, ...]
    above: bool  # supported above the threshold and refuted below, or the reverse

    @property
    def difference(self) -> bool:
        return len(self.groups) == 2

    @property
    def quantity(self) -> str:
        return " − ".join(f"retention({group})" for group in self.groups)

    @property
    def bounds(self) -> bounded.Bounds:
        """The range of the effect of one seed."""
        return bounded.DIFFERENCE if self.difference else bounded.RETENTION

    def margin(self, spec: specs.StudySpec) -> float:
        if self.difference:
            return 0.0
        return spec.margin if self.above else spec.large

    def threshold(self, spec: specs.StudySpec) -> float:
        if self.above and not self.difference:
            return 1 - spec.margin
        return self.margin(spec)

    def smallest_margin(self, effect: intervals.Interval) -> float | None:
        if self.difference:
            return None
        return max(0.0, 1 - effect.low if self.above else effect.high)


HYPOTHESES = (
    Hypothesis(
        "H1",
        "Replacing moving mean and variance costs more than replacing gamma and beta.",
        ("affine", "stats"),
        above=True,
    ),
    Hypothesis("H2", "Gamma and beta can be reused.", ("affine",), above=True),
    Hypothesis(
        "H3",
        "The network is very sensitive to its convolution kernels.",
        ("kernel",),
        above=False,
    ),
    Hypothesis("H4", "Convolution biases can be reused.", ("bias",), above=True),
)
