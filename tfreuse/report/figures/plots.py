"""Figures that Matplotlib draws: curves, scatters and pictures of arrays."""

from tfreuse.report.figures.curves import cumulative, strengths
from tfreuse.report.figures.kernels import cka_rows, kernels
from tfreuse.report.figures.scatter import scatter

# Kind of figure -> the function that draws it from rows and their subject.
DRAW = {
    "cumulative": lambda rows, s: cumulative(rows, s.spec),
    "strengths": lambda rows, s: strengths(rows, s.spec),
    "scatter": lambda rows, s: scatter(rows, s.spec),
    "kernels": lambda rows, s: kernels(s.arrays, rows),
}
ROWS = {"kernels": cka_rows}
