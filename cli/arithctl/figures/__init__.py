"""Rows in, figures out. Importing this package loads neither matplotlib nor a model."""

from arithctl.figures.data import Accuracy, FigureData, Grid
from arithctl.figures.draw import FIGURE_FORMATS, FigureFormat, Width, draw, draw_together

__all__ = [
    "FIGURE_FORMATS",
    "Accuracy",
    "FigureData",
    "FigureFormat",
    "Grid",
    "Width",
    "draw",
    "draw_together",
]
