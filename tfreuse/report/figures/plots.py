"""Figures that Matplotlib draws: curves, scatters, histograms and pictures of arrays."""

from tfreuse.report.figures.blame import shapley
from tfreuse.report.figures.curves import cumulative, profiles, strengths
from tfreuse.report.figures.forest import forest
from tfreuse.report.figures.kernels import cka_rows, kernels
from tfreuse.report.figures.labels import label_curves, label_savings
from tfreuse.report.figures.ladder import shares, steps
from tfreuse.report.figures.norms import norm_rows, norms
from tfreuse.report.figures.reasons import two_reasons
from tfreuse.report.figures.scatter import scatter
from tfreuse.report.figures.strip import strip, strip_rows

# Kind of figure -> the function that draws it from rows and their subject.
DRAW = {
    "reasons": lambda rows, s: two_reasons(rows, s.spec),
    "forest": lambda rows, s: forest(rows, s.spec),
    "cumulative": lambda rows, s: cumulative(rows, s.spec),
    "strengths": lambda rows, s: strengths(rows, s.spec),
    "profiles": lambda rows, s: profiles(rows, s.spec),
    "ladder": lambda rows, s: shares(rows, s.spec),
    "steps": lambda rows, s: steps(rows, s.spec),
    "shapley": lambda rows, s: shapley(rows, s.spec),
    "scatter": lambda rows, s: scatter(rows, s.spec),
    "strip": lambda rows, s: strip(s.arrays, rows),
    "norms": lambda rows, s: norms(s.arrays, rows),
    "kernels": lambda rows, s: kernels(s.arrays, rows),
}
LABELS = {"label_curves": label_curves, "label_savings": label_savings}
ROWS = {"strip": strip_rows, "norms": norm_rows, "kernels": cka_rows}
