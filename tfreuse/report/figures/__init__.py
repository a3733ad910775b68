"""The figures of a report, drawn from plain rows and saved with a CSV twin of them.

A function takes rows and the study's settings and returns a figure; `save` writes it.
"""

from tfreuse.report.figures.canvas import save
from tfreuse.report.figures.forest import forest
from tfreuse.report.figures.heat import heat_map
from tfreuse.report.figures.network import network

__all__ = ["forest", "heat_map", "network", "save"]
