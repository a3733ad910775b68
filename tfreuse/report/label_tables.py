"""Tables of label curves: verdicts, labels saved, the metric, groups of images, speed."""

from tfreuse.analysis import intervals, label_curves
from tfreuse.analysis.tables import Row
from tfreuse.report.blocks import Table


def verdicts(arms: label_curves.Arms, confidence: float) -> Table:
    """Lists each arm's gain over scratch with its verdict, and where the gain ends."""
    ends = {key(row): row for row in label_curves.crossovers(arms, confidence)}
    rows = []
    for row in label_curves.areas(arms, confidence):
        if "verdict" not in row:
            continue
        end = ends.get(key(row), {})
        rows.append(
            (
                *_names(row),
                row["verdict"],
                interval(row, "gain_") if "gain_mean" in row else "–",
                str(row.get("gain_n", 1)),
                "–" if row.get("p") is None else f"{row['p_holm']:.2g}",
                end.get("helps_at") or "none",
                end.get("harms_at") or "none",
                _crossover(end),
            )
        )
    head = ("network", "arm", "verdict", "gain over scratch", "n", "p (Holm)",
            "surely better at", "surely worse at", "gain ends at")  # fmt: skip
    note = (
        "Gain: difference of the mean heights of the curves over log2 n, paired by seed. "
        f"Surely: the {confidence:.0%} interval of the gain at that n leaves 0 out, for each n "
        "on its own. Gain ends: number of labels at which the mean gain falls to 0."
    )
    return Table(head, tuple(rows), note)


def savings(arms: label_curves.Arms, confidence: float) -> Table:
    """Lists how many times as many labels scratch needs, a column a number of labels."""
    rows = label_curves.savings(arms, confidence)
    counts = sorted({row["labels"] for row in rows})
    cells = {(key(row), row["labels"]): factor(row) for row in rows}
    names = {key(row): _names(row) for row in rows}
    note = (
        "Label saving: how many times as many labels scratch needs for the same metric "
        "(isotonic curve of the same seed, linear over log n); geometric mean over seeds and "
        "its interval. ≥: at least one seed does better than scratch with most labels, so that "
        "only a bound is known; ≤: worse than scratch with fewest."
    )
    table = tuple(
        (*columns, *(cells.get((arm, n), "–") for n in counts))
        for arm, columns in names.items()
    )
    return Table(("network", "arm", *(f"{n} labels" for n in counts)), table, note)


def metrics(arms: label_curves.Arms, confidence: float) -> Table:
    """Lists the metric and the gain over scratch at every number of labels."""
    rows = tuple(
        (
            *_names(row),
            str(row["labels"]),
            interval(row),
            interval(row, "gain_") if "gain_mean" in row else "–",
            str(row["n"]),
            row["method"],
            ", ".join(dict.fromkeys(row["rates"].split())),
        )
        for row in label_curves.curves(arms, confidence)
    )
    head = ("network", "arm", "labels", "metric", "gain over scratch", "n", "method",
            "rates chosen")  # fmt: skip
    return Table(head, rows)


def groups(arms: label_curves.Arms, confidence: float) -> Table:
    """Lists the metric of each group of test images."""
    rows = tuple(
        (
            *_names(row),
            str(row["labels"]),
            row["group"],
            "in training too" if row["seen"] else "new",
            interval(row),
            interval(row, "gain_") if "gain_mean" in row else "–",
            str(row["n"]),
        )
        for row in label_curves.by_group(arms, confidence)
    )
    note = (
        "The metric of the test images of one subject or sequence (--group_by). A gain that is "
        "there only where training has images of the same group is no gain on new ones."
    )
    head = ("network", "arm", "labels", "group", "group is", "metric",
            "gain over scratch", "n")  # fmt: skip
    return Table(head, rows, note)


def speeds(arms: label_curves.Arms, confidence: float) -> Table:
    """Lists the updates until most of the metric of scratch is reached."""
    rows = tuple(
        (
            *_names(row),
            str(row["labels"]),
            interval(row) if "mean" in row else "–",
            f"{row['reached']} of {row['n']}",
        )
        for row in label_curves.speeds(arms, confidence)
    )
    note = (
        "Updates until the test metric is 90 % of the way from the floor to the final metric of "
        "scratch with as many labels and the same seed; the rate falls along all updates. A "
        "mean only where every seed gets there."
    )
    return Table(
        ("network", "arm", "labels", "updates", "seeds that get there"), rows, note
    )


def factor(row: Row) -> str:
    """Returns a label saving as text: "×2.60 [1.10, 6.10]", with "≥" or "≤" where it is a bound."""
    mark = {">": "≥ ", "<": "≤ ", "<>": "? "}.get(row["censored"], "")
    low, high = intervals.number(row["low"]), intervals.number(row["high"])
    return f"{mark}×{intervals.number(row['mean'])} [{low}, {high}]"


def _crossover(row: Row) -> str:
    """Returns the number of labels at which the gain ends as text."""
    if not row:
        return "–"
    if row["crossover"] is not None:
        return f"{row['crossover']:.0f}"
    return "not in range" if row["censored"] == ">" else "no gain"


def arm_name(row: Row) -> str:
    """Returns an arm as "RECIPE of DONOR"."""
    return str(label_curves.Arm(*key(row)))


def _names(row: Row) -> tuple[str, str]:
    """Returns the first columns of every table: network and arm."""
    return row["architecture"], arm_name(row)


def key(row: Row) -> tuple[str, str, str]:
    """Returns the columns that name an arm."""
    return row["architecture"], row["donor"], row["recipe"]


def interval(row: Row, prefix: str = "") -> str:
    """Returns the interval in the columns with a prefix as text."""
    mean, low, high = (
        intervals.number(row[f"{prefix}{end}"]) for end in ("mean", "low", "high")
    )
    return f"{mean} [{low}, {high}]"
