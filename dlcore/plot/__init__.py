"""Every figure. Each function returns a matplotlib Figure of its own, `animation` an animation.

No window opens and pyplot is never touched: a figure is shown by a notebook, where it is the last
line of a cell, or written by `save`.
"""

from dlcore.names import api
from dlcore.plot.alignments import Alignment, alignments
from dlcore.plot.diagrams import Panel, bars, confusion, curves, heat_map, lines
from dlcore.plot.figure import save, suffix
from dlcore.plot.images import image_grid, mistakes, mosaic
from dlcore.plot.labels import labelled
from dlcore.plot.maps import Terrain, animation, contours, decision_boundary
from dlcore.plot.points import scatter

__all__ = [
    "Alignment",
    "Panel",
    "Terrain",
    "alignments",
    "animation",
    "bars",
    "confusion",
    "contours",
    "curves",
    "decision_boundary",
    "heat_map",
    "image_grid",
    "labelled",
    "lines",
    "mistakes",
    "mosaic",
    "save",
    "scatter",
    "suffix",
]

__getattr__, __dir__ = api(__name__, __all__)
