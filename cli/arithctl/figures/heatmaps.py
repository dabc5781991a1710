"""The same scores as one heatmap per variable: less compact than the paper's bars, and easier to read off.

All maps share one scale from 0 to 1. The strip above each map is the variable's ceiling in the same
colours: a map can only be as bright as its strip, and what matters is where it becomes so. Where there is
room for it every cell also carries its number.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from arithctl.figures.captions import accuracy_line, ceiling_line, correlation, headline, probe_line
from arithctl.figures.data import FigureData, Grid
from arithctl.figures.lines import legend_handles, line_panel
from arithctl.figures.page import Page
from arithctl.figures.style import (
    COLOURS,
    GREY,
    PAPER,
    SMALL,
    equation_lines,
    house_style,
    layer_axis,
    output_line,
    pitch,
    token_axis,
    y_label,
)

#: Even steps of it look even, also in grey and to colour-blind readers.
_MAP = "viridis"
#: Below this value the map is dark enough for white numbers.
_DARK = 0.5
#: Inches right of the panels: the colour bar and its numbers.
_RIGHT = 0.44
#: Inches per layer, at least and at most, and for all layers of all maps in between.
_ROW_MIN, _ROW_MAX, _ROWS = 0.05, 0.17, 3.4
#: Inches of a map, at least: its label must fit beside it.
_MAP_MIN = 0.56
#: Heights in inches of the ceiling's strip and of the gap below it.
_STRIP, _GAP = 0.12, 0.035
#: Inches that a cell needs in width and height to carry a number of the smallest size.
_NUMBER = (0.25, 0.115)


def heatmap_figure(data: FigureData, family: str, width: float) -> Figure:
    """Draw one map per variable of `family` on a page `width` inches wide."""
    with house_style():
        grid, n = data.grid(family), len(data.variables)
        page = Page(width, headline(data), accuracy_line(data), caption(data, grid), right=_RIGHT)
        row = max(_ROW_MIN, min(_ROW_MAX, _ROWS / (n * len(data.layers))), _MAP_MIN / len(data.layers))
        heights = [1.0, *[row * len(data.layers) + _GAP + _STRIP] * n]
        figure, (lines, *maps) = page.build(heights, 0.09, len(data.labels))
        page.legend(figure, legend_handles(data))
        line_panel(lines, data, grid)
        for index, axes in enumerate(maps):
            map_panel(axes, data, grid, index, row)
            if page.column(len(data.labels)) >= _NUMBER[0] and row >= _NUMBER[1]:
                _numbers(axes, grid.value[:, :, index])
        token_axis(maps[-1], data.labels)
        _colour_bar(figure, maps[0])
        return figure


def caption(data: FigureData, grid: Grid) -> str:
    """What the reader needs to know, in one paragraph."""
    failed = "; a cross: the probe gave no correlation" if grid.failed.any() else ""
    given = "; a dot: the text has printed the value" if data.given.any() else ""
    return (
        f"{probe_line(grid)} Top: the best layer at each token; dashed, and as a strip above each map: "
        f"{ceiling_line(data)} Maps: layer 0 is the embedding output; colours end at 0 and 1{failed}{given}."
    )


def map_panel(axes: Axes, data: FigureData, grid: Grid, index: int, row: float) -> None:
    """Draw the map of one variable, `row` inches per layer, and its ceiling as a strip above."""
    n_layers, n_tokens, _ = grid.value.shape
    strip, top = n_layers + _GAP / row, n_layers + (_GAP + _STRIP) / row
    axes.set_xlim(-0.5, n_tokens - 0.5)
    axes.set_ylim(0, top)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    layer_axis(axes, data.layers, above=((strip + top) / 2, "ceiling"))
    middle = n_layers / top / 2
    y_label(axes, f"{data.variables[index]}, layer", middle=middle, color=COLOURS[index], weight="bold")
    room = min(72 * row, pitch(axes, n_tokens))
    _mesh(axes, np.arange(n_layers + 1.0), grid.value[:, :, index], room)
    _mesh(axes, np.array([strip, top]), data.ceiling[None, :, index], room)
    equation_lines(axes, data.equation_starts, over=True)
    output_line(axes, data.output_start)
    _marks(axes, data, grid, index, room)


def _mesh(axes: Axes, y: NDArray[np.float64], value: NDArray[np.float64], room: float) -> None:
    # Vector cells instead of an image: viewers blur the few pixels of a small image.
    x = np.arange(value.shape[1] + 1) - 0.5
    mesh = axes.pcolormesh(x, y, np.ma.masked_invalid(value), cmap=_MAP, vmin=0, vmax=1)
    mesh.set(edgecolor="white", linewidth=0.4 if room > 7 else 0.15)


def _marks(axes: Axes, data: FigureData, grid: Grid, index: int, room: float) -> None:
    """A cross on grey for every failed cell, a dot for every printed value; `room` = points of a cell."""
    layers, tokens = np.nonzero(grid.failed[:, :, index])
    for layer, token in zip(layers, tokens, strict=True):
        axes.fill_between([token - 0.5, token + 0.5], layer, layer + 1, facecolor=PAPER, linewidth=0)
    crosses = axes.plot(tokens, layers + 0.5, color=GREY, linestyle="none", marker="x", markeredgewidth=0.5)
    crosses[0].set_markersize(min(2.4, 0.5 * room))
    value, corner = grid.value[:, :, index], 0.36 if room > 7 else 0.0
    for mask, colour in ((value < _DARK, "white"), (value >= _DARK, "black")):  # NaN is in neither
        layers, tokens = np.nonzero(mask & data.given[:, index])
        dots = axes.plot(
            tokens + corner, layers + 0.5, color=colour, linestyle="none", marker="o", markeredgewidth=0
        )
        dots[0].set_markersize(min(1.3, 0.2 * room))


def _numbers(axes: Axes, value: NDArray[np.float64]) -> None:
    for layer, token in np.argwhere(~np.isnan(value)):
        r = float(value[layer, token])
        colour = "white" if r < _DARK else "black"
        axes.text(token, layer + 0.47, correlation(r), size=SMALL, color=colour, ha="center", va="center")


def _colour_bar(figure: Figure, beside: Axes) -> None:
    """One scale for all maps, beside the first of them."""
    place, inch = beside.get_position(), 1 / figure.get_figwidth()
    axes = figure.add_axes((place.x1 + 0.09 * inch, place.y0, 0.08 * inch, place.height))
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), _MAP), cax=axes, ticks=[0, 0.5, 1])
    bar.set_ticklabels(["0", ".5", "1"])
    bar.outline.set_visible(False)
    bar.set_label("r", labelpad=1)
