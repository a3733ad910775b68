"""Shares the loss of a full transplant among the roles: exact Shapley values.

One role at a time hides interactions: a donor's kernels need the donor's statistics. All 32
unions of kernel, bias, gamma, beta and stats are measured at a site; the Shapley value of a role
is the mean, over all orders of moving them, of the loss that moving it adds (Shapley 1953).
"""

import functools
import itertools
import math
from collections.abc import Mapping

import numpy as np

from tfreuse import roles, specs
from tfreuse.analysis import Row
from tfreuse.analysis.arms import (
    Arms,
    Values,
    cell_columns,
    floored_retentions,
    with_intervals,
)
from tfreuse.errors import InputError
from tfreuse.records import Record

PLAYERS = ("kernel", "bias", "gamma", "beta", "stats")
PAIRS = tuple(itertools.combinations(range(len(PLAYERS)), 2))
# A union is a number whose bit i says that PLAYERS[i] was moved.
EVERYTHING = 2 ** len(PLAYERS) - 1


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Computes Shapley values and pairwise interactions at every site with all 32 unions.

    The game is v(S) = 1 - retention with S taken from the donor (below 0 counting as 0), v of
    nothing = 0, for every seed on its own. With n = 5 players and s = |S|:

        value(i)          sum over S without i of s! (n-s-1)! / n! x (v(S+i) - v(S))
        interaction(i, j) sum over S without i, j of s! (n-s-2)! / (n-1)!
                          x (v(S+i+j) - v(S+i) - v(S+j) + v(S))

    (Shapley 1953; Grabisch & Roubens 1999). The values sum to v of all, for every seed. A
    positive interaction: together they cost more than one by one; a negative one: each
    repairs what the other breaks, as a donor's statistics do for its kernels. A role that the
    site has no parameters of (not measured alone, and adds none to any union) has value 0. A
    site where a union is missing is left out.

    Returns:
        rows of site_kind, site, depth, group, repair, quantity ("value": group is the role;
        "interaction": group is "kernel+stats", ...; "total": group is "all"), first, second
        (the roles of an interaction, else the role and ""), absent (no such parameters) and
        mean, low, high, n, method of the loss in units of retention. Every site gives one
        total, five values and the interactions of the roles that it has.
    """
    unions: dict[tuple, dict[int, Mapping[int, Record]]] = {}  # by site, then by union
    cells: dict[tuple, Row] = {}  # by site
    for arm, seeds in arms.items():
        if (arm.control, arm.strength) != ("transfer", 1.0):
            continue
        union = _union(arm.group)
        if union is not None:
            site = (arm.site_kind, arm.site, arm.repair)
            cells.setdefault(site, cell_columns(arm, seeds))
            unions.setdefault(site, {}).setdefault(union, seeds)
    pending = []
    for site in sorted(unions, key=lambda site: _order(cells[site])):
        game = _game(unions[site])
        if game is not None:
            losses, absent = game
            pending += _site_rows(cells[site], losses, absent)
    return with_intervals(pending, spec.confidence)


def _order(cell: Row) -> tuple:
    kind = specs.SITES.index(cell["site_kind"])
    return kind, specs.REPAIRS.index(cell["repair"]), cell["depth"], cell["site"]


@functools.lru_cache(maxsize=256)
def _union(group: str) -> int | None:
    """Returns the union of players that the group is; None if it splits one (moving_mean)."""
    try:
        moved = set(roles.expand(group))
    except InputError:
        return None
    members = [set(roles.expand(player)) for player in PLAYERS]
    if any(moved & player and not player <= moved for player in members):
        return None
    return sum(2**i for i, player in enumerate(members) if player <= moved)


def _game(
    unions: Mapping[int, Mapping[int, Record]],
) -> tuple[np.ndarray, int] | None:
    """Returns v by seed and union [seeds, 32], and the union of absent roles.

    None where a union or every seed is missing.
    """
    absent = sum(2**i for i in range(len(PLAYERS)) if 2**i not in unions)
    # Without its absent roles a union equals a smaller one: both must move as many parameters.
    present: dict[int, tuple[int, Values]] = {0: (0, {})}  # union -> size, retentions
    for union in sorted(unions, key=int.bit_count):
        size = next(iter(unions[union].values())).parameters
        values = floored_retentions(unions[union])
        first_size, _ = present.setdefault(union & ~absent, (size, values))
        if first_size != size:  # the role is not absent: it was not measured alone
            return None
    reduced = [union & ~absent for union in range(EVERYTHING + 1)]
    if absent == EVERYTHING or not set(reduced) <= set(present):
        return None
    sides = [present[union][1] for union in sorted(set(reduced)) if union]
    seeds = sorted(set.intersection(*(set(side) for side in sides)))
    losses = np.zeros((len(seeds), EVERYTHING + 1))
    for union, values in enumerate(present[smaller][1] for smaller in reduced):
        if values:
            losses[:, union] = [1 - values[seed] for seed in seeds]
    return (losses, absent) if seeds else None


def _site_rows(
    cell: Row, losses: np.ndarray, absent: int
) -> list[tuple[Row, np.ndarray]]:
    """Returns the site's rows, each with its values by seed.

    Args:
        cell: the columns that identify the site.
        losses: v by seed and union, [seeds, 32].
        absent: the union of the roles that the site does not have.
    """
    value_weights, pair_weights = _weights()
    values, interactions = losses @ value_weights.T, losses @ pair_weights.T
    total = _columns("all", "total", "all", "", False)
    pending = [(cell | total, losses[:, EVERYTHING])]
    for i, player in enumerate(PLAYERS):
        columns = _columns(player, "value", player, "", bool(absent >> i & 1))
        pending.append((cell | columns, values[:, i]))
    for (i, j), interaction in zip(PAIRS, interactions.T, strict=True):
        if not absent & (2**i | 2**j):
            first, second = PLAYERS[i], PLAYERS[j]
            columns = _columns(f"{first}+{second}", "interaction", first, second, False)
            pending.append((cell | columns, interaction))
    return pending


def _columns(group: str, quantity: str, first: str, second: str, absent: bool) -> Row:
    return {
        "group": group,
        "quantity": quantity,
        "first": first,
        "second": second,
        "absent": absent,
    }


@functools.cache
def _weights() -> tuple[np.ndarray, np.ndarray]:
    """Returns the weights of v(S) in each value [5, 32] and each interaction [10, 32]."""
    n = len(PLAYERS)
    values, pairs = np.zeros((n, 2**n)), np.zeros((len(PAIRS), 2**n))
    for union in range(2**n):
        size = union.bit_count()
        for i in range(n):
            if not union >> i & 1:
                share = math.factorial(size) * math.factorial(n - size - 1)
                share /= math.factorial(n)
                values[i, union] -= share
                values[i, union | 2**i] += share
        for k, (i, j) in enumerate(PAIRS):
            if not union & (2**i | 2**j):
                share = math.factorial(size) * math.factorial(n - size - 2)
                share /= math.factorial(n - 1)
                for added, sign in ((0, 1), (2**i, -1), (2**j, -1), (2**i | 2**j, 1)):
                    pairs[k, union | added] += sign * share
    return values, pairs
