"""Rows in, figures out. Importing this package loads neither matplotlib nor a model."""

from arithctl.figures.data import Accuracy, FigureData, Grid
from arithctl.figures.draw import FIGURE_FORMATS, FigureFormat, Kind, Width, draw, draw_together, figure_of

__all__ = [
    "FIGURE_FORMATS",
    "Accuracy",
    "FigureData",
    "FigureFormat",
    "Grid",
    "Kind",
    "Width",
    "draw",
    "draw_together",
    "figure_of",
]
