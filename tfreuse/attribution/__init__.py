"""What the effects of a study are made of: rows, ready for a figure and its CSV twin.

    arms = verdicts.arms.index(records)[part]
    attribution.reasons(arms, spec)  # general features, or a small difference
    attribution.ladder(arms, spec)  # statistics, permutation and features, as shares of a loss
    attribution.shapley(arms, spec)  # whose fault a loss is: kernel, bias, gamma, beta, stats
    attribution.excess(arms, spec)  # how much of a loss is due to the donor's task
    attribution.beyond_magnitude(arms, spec)  # whether the kind of parameter matters at all
    attribution.predictors(arms, spec)  # what tells beforehand which kernels can be reused
    attribution.significance(arms, spec)  # which cells of a heat map are not 1
    attribution.strength_path(arms, spec)  # how far towards the donor nothing is lost
    attribution.profiles(arms, spec)  # the share of sites that retain enough

Every function takes the arms of one part of a study and its spec and returns a list of plain
dicts, which tell at least site_kind, site, depth, group, and mean, low, high, n, method of an
interval over seeds; its docstring tells the formula, the source and the other keys. An arm
that was not measured gives no row.
"""

from tfreuse.attribution.coalitions import PLAYERS, shapley
from tfreuse.attribution.heat import mark, significance
from tfreuse.attribution.moves import REASONS, excess, reasons
from tfreuse.attribution.paths import profiles, strength_path
from tfreuse.attribution.repairs import ladder
from tfreuse.verdicts.magnitude import beyond_magnitude
from tfreuse.verdicts.prediction import BASELINE, PREDICTORS, across, predictors

__all__ = [
    "BASELINE",
    "PLAYERS",
    "PREDICTORS",
    "REASONS",
    "across",
    "beyond_magnitude",
    "excess",
    "ladder",
    "mark",
    "predictors",
    "profiles",
    "reasons",
    "shapley",
    "significance",
    "strength_path",
]
