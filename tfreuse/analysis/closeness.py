"""Judges H5: the RMSE between two kernels predicts whether one can replace the other."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfreuse import specs
from tfreuse.analysis import caveats, intervals, predictors
from tfreuse.analysis.arms import Arms, Part, unclipped_retentions
from tfreuse.analysis.bounded import DIFFERENCE
from tfreuse.records import Record

STATEMENT = "The RMSE between two kernels tells whether one can replace the other."
QUANTITY = "Spearman correlation(−RMSE, retention of single {kind}s' kernels)"
USEFUL = 0.7  # AUROC above which a rule is of use
FEWEST = 2  # seeds that a measure must be defined for


def judge(arms: Arms, spec: specs.StudySpec) -> dict[str, Any]:
    """Returns the fields of a Verdict on H5 that depend on the arms.

    With the measures of `predictors.rows` for -RMSE at single layers (stages where layers were
    not measured), and their intervals over seeds:

        supported  low(spearman) > 0, and the mean AUROC of "retention >= 1 - margin" in seeds
                   left out is above 0.7, and low(partial) > 0: RMSE adds to depth and size
        refuted    high(spearman) < 0, or high(auroc) < 0.7

    `p` is the larger of the p of `spearman` and `partial`, since both must differ from 0.
    """
    kind = "layer" if predictors.columns_by_seed(arms, "layer") else "stage"
    cells = predictors.columns_by_seed(arms, kind)
    measures = predictors.measures(cells, "-rmse", spec.margin)
    unclipped = predictors.correlations(
        predictors.columns_by_seed(arms, kind, unclipped_retentions), "-rmse"
    )
    ends = {
        name: (
            intervals.mean_interval(
                values, spec.confidence, bounds=predictors.BOUNDS[name]
            )
            if values
            else None
        )
        for name, values in measures.items()
    }
    effect = ends["spearman"]
    records = _records(arms, kind)
    obstacle = _obstacle(cells, measures, records, kind, spec)
    if obstacle:
        verdict, reason, notes = "not testable", obstacle, []
    else:
        verdict, reason = _compare(ends)
        notes = _notes(cells, kind, ends, spec)
        notes += caveats.cautions(
            verdict, measures["spearman"], 0.0, DIFFERENCE, records, spec
        )
    return {
        "verdict": verdict,
        "effect": effect,
        "margin": 0.0,
        "smallest_margin": None,
        "n": len(measures["spearman"]),
        "reason": reason,
        "notes": tuple(notes),
        "quantity": QUANTITY.format(kind=kind),
        "threshold": 0.0,
        "unclipped": (
            intervals.mean_interval(unclipped, spec.confidence, bounds=DIFFERENCE)
            if unclipped
            else None
        ),
        "p": None if obstacle else _p(measures),
    }


def threshold_note(
    part: Part, parts: Mapping[Part, Arms], spec: specs.StudySpec
) -> str:
    """Returns a note on how a threshold of RMSE, chosen on other architectures, does here."""
    rows = [
        row
        for row in predictors.across_architectures(parts, spec)
        if row["predictor"] == "-rmse"
        and row["quantity"] == "balanced_accuracy"
        and Part(row["architecture"], row["direction"], row["link"]) == part
    ]
    if not rows:
        return (
            "No threshold of RMSE is told: it would have to be tried on an architecture that it "
            "was not chosen for."
        )
    row = min(rows, key=lambda row: row["site_kind"] != "layer")
    low, high = intervals.number(row["low"]), intervals.number(row["high"])
    return (
        f"RMSE up to {intervals.number(-row['threshold'])}, chosen on the other architectures, "
        f"has a balanced accuracy of {intervals.number(row['mean'])} [{low}, {high}] here, "
        f"n = {row['n']}; 0.5 is a coin."
    )


def _records(arms: Arms, kind: str) -> list[Record]:
    return [
        record
        for arm, seeds in arms.items()
        if arm[:2] == ("transfer", kind) and arm[3:] == ("kernel", "none", 1.0, 0)
        for record in seeds.values()
    ]


def _obstacle(
    cells: predictors.Table,
    measures: Mapping[str, Sequence[float]],
    records: Sequence[Record],
    kind: str,
    spec: specs.StudySpec,
) -> str:
    """Returns a sentence on why H5 cannot be tested; "" if it can."""
    if "kernel" not in spec.groups:
        return "Arms are missing: --groups leaves kernel out."
    if len(cells) < max(FEWEST, spec.seeds):
        return (
            f"Arms are missing: of {spec.seeds} seeds, {len(cells)} have kernels of at least "
            f"{predictors.FEWEST_SITES} single layers or stages."
        )
    if weak := caveats.too_little_to_lose(records, spec):
        return weak
    if len(measures["spearman"]) < FEWEST:
        return f"RMSE or retention is the same at every {kind}."
    if len(measures["auroc"]) < FEWEST:
        return (
            f"Kernels of every {kind}, or of none, retain {1 - spec.margin:g} or more in all but "
            f"{len(measures['auroc'])} of {len(cells)} seeds: there is nothing to tell apart."
        )
    return ""


def _compare(ends: Mapping[str, intervals.Interval | None]) -> tuple[str, str]:
    """Returns the verdict and its reason, from the interval of each measure."""
    correlation, partial, auroc = ends["spearman"], ends["partial"], ends["auroc"]
    if correlation.high < 0:
        return "refuted", "The whole interval of the correlation lies below 0."
    if auroc.high < USEFUL:
        return "refuted", f"The whole interval of the AUROC lies below {USEFUL:g}."
    missing = []
    if correlation.low <= 0:
        missing.append("the interval of the correlation is not all above 0")
    if auroc.estimate <= USEFUL:
        missing.append(f"the AUROC is not above {USEFUL:g}")
    if partial is None or partial.low <= 0:
        missing.append("it is not shown to add to depth and size")
    if missing:
        reason = "; ".join(missing)
        return "inconclusive", f"{reason[0].upper()}{reason[1:]}."
    return "supported", (
        f"The whole interval of the correlation lies above 0, the AUROC is above {USEFUL:g}, "
        "and RMSE adds to depth and size."
    )


def _notes(
    cells: predictors.Table,
    kind: str,
    ends: Mapping[str, intervals.Interval | None],
    spec: specs.StudySpec,
) -> list[str]:
    """Returns the notes on AUROC, partial correlation, gain and the other predictors."""
    auroc, partial, gain = (ends[name] for name in ("auroc", "partial", "gain"))
    measure = f"AUROC of “retains {1 - spec.margin:g} or more” in seeds left out"
    notes = [f"{measure}: {auroc}, n = {auroc.n}; 0.5 is a coin."]
    if partial:
        notes.append(
            f"With depth and size taken out the correlation is {partial}, n = {partial.n}."
        )
    else:
        notes.append(f"Too few {kind}s to take depth and size out of the correlation.")
    if gain:
        notes.append(
            f"The AUROC with depth, size and RMSE, less that of depth and size alone, is {gain}, "
            f"n = {gain.n}."
        )
    correlations, missing = [], []
    for name in predictors.PREDICTORS[1:]:
        values = predictors.correlations(cells, name)
        if values:
            effect = intervals.mean_interval(values, spec.confidence, bounds=DIFFERENCE)
            correlations.append(f"{name} {effect}")
        else:
            missing.append(name)
    if correlations:
        notes.append(f"Correlation of other predictors: {', '.join(correlations)}.")
    if missing:
        notes.append(f"Not measured: {', '.join(missing)}.")
    return notes


def _p(measures: Mapping[str, Sequence[float]]) -> float | None:
    """Returns the larger p of correlation and partial correlation; None without them."""
    p_values = [
        intervals.p_value(measures[name], bounds=DIFFERENCE)
        for name in ("spearman", "partial")
        if measures[name]
    ]
    return max(p_values, default=None)
