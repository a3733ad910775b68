"""Computes the power and the false alarms of `transplant check` from measured curves.

    summary = check_power.summary(records)  # of benchmarks.check
    print(check_power.markdown(summary))

A limit is MARGIN times the largest value of right networks: on their own images, and on any. For a
network's rates it is taken from the networks of the other families, so that none is judged by itself.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tfreuse.training import statistics_answer

MARGIN = 1.2  # the largest of few networks is less than that of many
RIGHT, INPUT = "right", "input: "
BGR = "input: BGR for RGB"
PIXELS = "pixels"  # found since other pixels fit
_COLUMNS = (
    *("error", "own images: found", "mean share of the networks, 95 % interval", "by"),
    *("any images: found", "mean share"),
)
Record, Values = dict[str, Any], dict[str, float]
Valued = tuple[Record, Values]


def family(network: str) -> str:
    """Returns what a network has in common with others: all EfficientNets are one family."""
    return "EfficientNet" if network.startswith("EfficientNet") else network


def indicators(record: Record) -> Values:
    """Returns the values that `statistics_answer` compares with its limits."""
    names = statistics_answer.QUANTITIES
    columns = zip(*(record[name] for name in names), strict=True)
    rows = [dict(zip(names, values, strict=True)) for values in columns]
    return statistics_answer.indicators(rows)


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """Returns the limits, and for own and any images how often each error is found."""
    values = [(record, indicators(record)) for record in records]
    own = [(record, of_record) for record, of_record in values if record["own"]]
    parts = {}
    for name, part in (("own", own), ("any", values)):
        networks = dict.fromkeys(record["network"] for record, _ in part)
        limits = {n: _limits(part, held_out=family(n)) for n in networks}
        parts[name] = {
            "limits": _limits(part),
            "rows": _rows(part, limits),
            "pixels": _suggestions(part, limits),
            "sets": sum(record["error"] == RIGHT for record, _ in part),
        }
    return {
        "networks": list(dict.fromkeys(record["network"] for record in records)),
        "domains": list(dict.fromkeys(record["domain"] for record in records)),
    } | parts


def _limits(values: Iterable[Valued], held_out: str = "") -> Values:
    """Returns MARGIN times the largest value of each indicator in right networks."""
    right = [
        of_record
        for record, of_record in values
        if record["error"] == RIGHT and family(record["network"]) != held_out
    ]
    return {name: MARGIN * max(v[name] for v in right) for name in right[0]}


def _rows(values: Sequence[Valued], limits: dict[str, Values]) -> list[Record]:
    """Returns a row an error: how often an indicator is above its limit, or other pixels fit."""
    pixels = _by_pixels(values)
    rows: dict[str, Record] = {}
    for record, of_record in values:
        network, error = record["network"], record["error"]
        names = statistics_answer.above(of_record, limits[network])
        candidates = pixels[network, record["domain"]]
        if error in candidates and statistics_answer.better_pixels(
            candidates, error, limits[network]
        ):
            names.append(PIXELS)
        counts = dict.fromkeys((*of_record, PIXELS), 0)
        row = rows.setdefault(error, {"by_indicator": counts, "by_network": {}})
        for name in names:
            row["by_indicator"][name] += 1
        row["by_network"].setdefault(network, []).append(bool(names))
    return [{"error": error} | _rate(row) for error, row in rows.items()]


def _rate(row: Record) -> Record:
    """Adds counts, and the mean of the networks' shares with an interval whose n is theirs."""
    found = row["by_network"].values()
    shares = [sum(of_network) / len(of_network) for of_network in found]
    low, high = _wilson(sum(shares), len(shares))
    return {
        "found": sum(map(sum, found)),
        "n": sum(map(len, found)),
        "networks": len(shares),
        "share": sum(shares) / len(shares),
        "low": low,
        "high": high,
        "by_indicator": row["by_indicator"],
        "by_network": dict(zip(row["by_network"], shares, strict=True)),
    }


def _by_pixels(values: Sequence[Valued]) -> dict[tuple[str, str], dict[str, Values]]:
    """Returns the indicators of all pixels, by error, of each network and domain."""
    pixels: dict[tuple[str, str], dict[str, Values]] = {}
    for record, of_record in values:
        error = record["error"]
        if error == RIGHT or (error.startswith(INPUT) and error != BGR):
            key = record["network"], record["domain"]
            pixels.setdefault(key, {})[error] = of_record
    return pixels


def _suggestions(values: Sequence[Valued], limits: dict[str, Values]) -> list[Record]:
    """Counts for each domain how often wrong pixels make the check suggest the right ones."""
    rows: dict[str, Record] = {}
    for (network, domain), by_error in _by_pixels(values).items():
        row = rows.setdefault(
            domain, {"domain": domain, "right": 0, "wrong": 0, "n": 0}
        )
        for error in by_error.keys() - {RIGHT}:
            better = statistics_answer.better_pixels(by_error, error, limits[network])
            row["n"] += 1
            row["right"] += better == RIGHT
            row["wrong"] += better not in ("", RIGHT)
    return list(rows.values())


def _wilson(successes: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share (Wilson 1927) of n networks."""
    share, weight = successes / n, z * z / n
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / n + weight / n / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def markdown(summary: dict[str, Any]) -> str:
    """Returns the tables: found on own images, and on any, with the limits of each."""
    lines = [
        f"Networks: {'; '.join(summary['networks'])}.",
        f"Images: {'; '.join(summary['domains'])}.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|---|--:|--:|---|--:|--:|",
    ]
    of_any = {row["error"]: row for row in summary["any"]["rows"]}
    for row in summary["own"]["rows"]:
        by = sorted(row["by_indicator"].items(), key=lambda pair: -pair[1])
        names = ", ".join(f"{name} {count}" for name, count in by if count)
        cells = row["error"], _counts(row), _share(row), names
        other = of_any[row["error"]]
        lines.append(f"| {' | '.join((*cells, _counts(other), _share(other)))} |")
    lines += ["", "| limit | " + " | ".join(summary["own"]["limits"]) + " |"]
    lines.append("|---" + "|--:" * len(summary["own"]["limits"]) + "|")
    for name in ("own", "any"):
        numbers = " | ".join(f"{v:.2f}" for v in summary[name]["limits"].values())
        lines.append(f"| {name} images, {summary[name]['sets']} sets | {numbers} |")
    lines += [
        "",
        "| own images, wrong pixels | right ones suggested | other wrong ones |",
    ]
    lines.append("|---|--:|--:|")
    for row in summary["own"]["pixels"]:
        suggested = f"{row['right']} of {row['n']}"
        lines.append(f"| {row['domain']} | {suggested} | {row['wrong']} |")
    return "\n".join([*lines, ""])


def _counts(row: Record) -> str:
    return f"{row['found']} of {row['n']}"


def _share(row: Record) -> str:
    return f"{row['share']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
