"""Who is to blame for what a full transplant of a site costs: exact Shapley values of roles.

One role at a time hides interactions: a donor's kernels need the donor's statistics. Of all 32
unions of kernel, bias, gamma, beta and stats each is measured once; a role's value is the mean,
over all orders of moving them, of what moving it adds to the loss (Shapley 1953).
"""

import functools
import itertools
import math
from collections.abc import Mapping

import numpy as np

from tfreuse import roles, specs
from tfreuse.analysis.arms import (
    Arms,
    Row,
    Values,
    cell_columns,
    floored_retentions,
    with_intervals,
)
from tfreuse.errors import InputError
from tfreuse.records import Record

PLAYERS = ("kernel", "bias", "gamma", "beta", "stats")
PAIRS = tuple(itertools.combinations(range(len(PLAYERS)), 2))
EVERYTHING = (
    2 ** len(PLAYERS) - 1
)  # a union is a number: bit i says that PLAYERS[i] moved


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Shapley values and pairwise interactions of the loss at every site with all 32 unions.

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
        total, five values and the interactions of roles that are there.
    """
    sites: dict[tuple, dict[int, Mapping[int, Record]]] = {}
    places: dict[tuple, Row] = {}
    for arm, seeds in arms.items():
        if (arm.control, arm.strength) != ("transfer", 1.0):
            continue
        union = _union(arm.group)
        if union is not None:
            site = (arm.site_kind, arm.site, arm.repair)
            places.setdefault(site, cell_columns(arm, seeds))
            sites.setdefault(site, {}).setdefault(union, seeds)
    pending = []
    for site in sorted(sites, key=lambda site: _order(places[site])):
        game = _game(sites[site])
        if game is not None:
            losses, absent = game
            pending += _blame(places[site], losses, absent)
    return with_intervals(pending, spec.confidence)


def _order(row: Row) -> tuple:
    kinds = specs.SITES.index(row["site_kind"]), specs.REPAIRS.index(row["repair"])
    return *kinds, row["depth"], row["site"]


@functools.lru_cache(maxsize=256)
def _union(group: str) -> int | None:
    """The union of players that the group is; None if it is none, as moving_mean alone."""
    try:
        moved = set(roles.expand(group))
    except InputError:
        return None
    members = [set(roles.expand(player)) for player in PLAYERS]
    if any(moved & one and not one <= moved for one in members):
        return None
    return sum(2**i for i, one in enumerate(members) if one <= moved)


def _game(
    found: Mapping[int, Mapping[int, Record]],
) -> tuple[np.ndarray, int] | None:
    """v by seed and union, [seeds, 32], and the union of absent roles; None if incomplete."""
    absent = sum(2**i for i in range(len(PLAYERS)) if 2**i not in found)
    moved: dict[int, tuple[int, Values]] = {0: (0, {})}  # parameters and retentions
    for union in sorted(found, key=int.bit_count):
        parameters = next(iter(found[union].values())).parameters
        values = floored_retentions(found[union])
        known, _ = moved.setdefault(union & ~absent, (parameters, values))
        if known != parameters:  # a role that seemed absent is not: it was not measured
            return None
    present = [u & ~absent for u in range(EVERYTHING + 1)]
    if absent == EVERYTHING or not set(present) <= set(moved):
        return None
    sides = [moved[union][1] for union in sorted(set(present)) if union]
    seeds = sorted(set.intersection(*(set(side) for side in sides)))
    losses = np.zeros((len(seeds), EVERYTHING + 1))
    for union, values in enumerate(moved[one][1] for one in present):
        if values:
            losses[:, union] = [1 - values[seed] for seed in seeds]
    return (losses, absent) if seeds else None


def _blame(row: Row, losses: np.ndarray, absent: int) -> list[tuple[Row, np.ndarray]]:
    """The site's rows, each with a number a seed."""
    of_one, of_two = _weights()
    values, interactions = losses @ of_one.T, losses @ of_two.T
    pending = [
        (
            row | _named("all", "total", "all", "", False),
            losses[:, EVERYTHING],
        )
    ]
    for i, player in enumerate(PLAYERS):
        gone = bool(absent >> i & 1)
        pending.append((row | _named(player, "value", player, "", gone), values[:, i]))
    for (i, j), one in zip(PAIRS, interactions.T, strict=True):
        if not absent & (2**i | 2**j):
            both = f"{PLAYERS[i]}+{PLAYERS[j]}"
            named = _named(both, "interaction", PLAYERS[i], PLAYERS[j], False)
            pending.append((row | named, one))
    return pending


def _named(group: str, quantity: str, first: str, second: str, absent: bool) -> Row:
    return {
        "group": group,
        "quantity": quantity,
        "first": first,
        "second": second,
        "absent": absent,
    }


@functools.cache
def _weights() -> tuple[np.ndarray, np.ndarray]:
    """What v of each union counts in each value, [5, 32], and in each interaction, [10, 32]."""
    n = len(PLAYERS)
    of_one, of_two = np.zeros((n, 2**n)), np.zeros((len(PAIRS), 2**n))
    for union in range(2**n):
        size = union.bit_count()
        for i in range(n):
            if not union >> i & 1:
                share = math.factorial(size) * math.factorial(n - size - 1)
                share /= math.factorial(n)
                of_one[i, union] -= share
                of_one[i, union | 2**i] += share
        for k, (i, j) in enumerate(PAIRS):
            if not union & (2**i | 2**j):
                share = math.factorial(size) * math.factorial(n - size - 2)
                share /= math.factorial(n - 1)
                for more, sign in ((0, 1), (2**i, -1), (2**j, -1), (2**i | 2**j, 1)):
                    of_two[k, union | more] += sign * share
    return of_one, of_two
