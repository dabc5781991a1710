"""The layout of figures 2 and 3 of Kudo et al. 2024: lines above, a grid of small bars below.

One cell of the grid is one (layer, token) and holds one bar per variable, as high as the correlation. The
paper counts layers from the input, so layer 0 stands at the bottom and the computation rises. A bar is
never higher than its cell; a negative correlation has no bar, and a failed probe a cross, never a zero.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from arithctl.figures.captions import accuracy_line, ceiling_line, headline, probe_line
from arithctl.figures.data import FigureData, Grid
from arithctl.figures.lines import legend_handles, line_panel
from arithctl.figures.page import Page
from arithctl.figures.style import (
    COLOURS,
    GREY,
    PAPER,
    equation_lines,
    house_style,
    layer_axis,
    output_line,
    pitch,
    token_axis,
    y_label,
)

#: Share of a cell's width and height that stays free around its bars.
_MARGIN_X, _MARGIN_Y = 0.12, 0.10
#: Inches per layer, at least and at most, and for all layers together in between.
_ROW_MIN, _ROW_MAX, _ROWS = 0.15, 0.36, 2.6


def paper_figure(data: FigureData, family: str, width: float) -> Figure:
    """Draw `family` in the paper's layout on a page `width` inches wide."""
    with house_style():
        grid = data.grid(family)
        page = Page(width, headline(data), accuracy_line(data), caption(data, grid))
        heights = [0.95 if page.narrow else 1.15, row_height(len(data.layers)) * len(data.layers)]
        figure, (lines, bars) = page.build(heights, 0.09, len(data.labels))
        page.legend(figure, legend_handles(data))
        line_panel(lines, data, grid)
        bar_panel(bars, data, grid)
        return figure


def row_height(layers: int) -> float:
    """Inches per layer."""
    return max(_ROW_MIN, min(_ROW_MAX, _ROWS / layers))


def caption(data: FigureData, grid: Grid) -> str:
    """What the reader needs to know, in one paragraph."""
    failed = "; a cross: the probe gave no correlation" if grid.failed.any() else ""
    given = "; pale with a dot: the text has printed the value" if data.given.any() else ""
    return (
        f"{probe_line(grid)} Top: the best layer at each token; dashed: {ceiling_line(data)} "
        f"Bottom: one bar per variable, full cell = 1{failed}{given}."
    )


def bar_panel(axes: Axes, data: FigureData, grid: Grid) -> None:
    """Draw the grid of bars: one row per layer, one column per token."""
    n_layers, n_tokens, n_variables = grid.value.shape
    token_axis(axes, data.labels)
    axes.set_ylim(0, n_layers)
    axes.spines[["left", "bottom"]].set_visible(False)
    layer_axis(axes, data.layers)
    y_label(axes, "layer\n(0 = embedding output)" if n_layers > 3 else "layer")
    probed = np.argwhere((~np.isnan(grid.value) | grid.failed).any(axis=2))
    cells = [Rectangle((token - 0.47, layer + 0.04), 0.94, 0.92) for layer, token in probed]
    axes.add_collection(PatchCollection(cells, facecolor=PAPER, linewidth=0, zorder=0.2))
    equation_lines(axes, data.equation_starts)
    output_line(axes, data.output_start)
    slot = (1 - 2 * _MARGIN_X) / n_variables
    for index in range(n_variables):
        left = np.arange(n_tokens) - 0.5 + _MARGIN_X + slot * index
        _bars(axes, data, grid, index, left, slot)
        _marks(axes, data, grid, index, left + slot / 2, slot * pitch(axes, n_tokens))


def _bars(
    axes: Axes, data: FigureData, grid: Grid, index: int, left: NDArray[np.float64], slot: float
) -> None:
    """Draw the bars of one variable, whose slot in each column begins at `left`."""
    height = np.clip(np.nan_to_num(grid.value[:, :, index]), 0, 1) * (1 - 2 * _MARGIN_Y)
    given = np.broadcast_to(data.given[:, index], height.shape)
    for mask, alpha in ((~given, 1.0), (given, 0.35)):
        cells = np.argwhere(mask & (height > 0))
        bars = [
            Rectangle((left[t] + 0.06 * slot, i + _MARGIN_Y), 0.88 * slot, height[i, t]) for i, t in cells
        ]
        axes.add_collection(
            PatchCollection(bars, facecolor=COLOURS[index], alpha=alpha, linewidth=0, zorder=2)
        )


def _marks(
    axes: Axes, data: FigureData, grid: Grid, index: int, middle: NDArray[np.float64], room: float
) -> None:
    """A cross for every failed cell, a dot for every value that the text has printed; `room` in points."""
    printed = data.given[:, index] & ~np.isnan(grid.value[:, :, index])
    failed = grid.failed[:, :, index]
    for mask, marker, size, colour in ((printed, "o", 1.1, COLOURS[index]), (failed, "x", 1.9, GREY)):
        layers, tokens = np.nonzero(mask)
        marks = axes.plot(middle[tokens], layers + 2 * _MARGIN_Y, color=colour, linestyle="none", zorder=4)
        marks[0].set(marker=marker, markersize=min(size, 0.8 * room), markeredgewidth=min(0.5, 0.3 * room))
