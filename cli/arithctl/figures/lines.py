"""The line panel on top of every figure: the best layer at each token, and the ceiling above it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from arithctl.figures.data import FigureData, Grid
from arithctl.figures.style import (
    COLOURS,
    GREY,
    LIGHT,
    MARKERS,
    equation_lines,
    output_line,
    pitch,
    y_label,
)

#: Points of a dash and of the space after it, for the ceiling.
_DASHES = (3.5, 2.0)
#: Diameter of a marker in points, where there is room for it.
_MARKER = 2.9


def line_panel(axes: Axes, data: FigureData, grid: Grid) -> None:
    """Draw, for each variable, max over layers of r as a line and the ceiling as a dashed one."""
    tokens = np.arange(len(data.labels))
    axes.set_xlim(-0.5, len(tokens) - 0.5)
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set_xticks([])
    y_label(axes, "best layer's r")
    axes.hlines([0, 0.5, 1], -0.5, len(tokens) - 0.5, color=LIGHT, linewidth=0.4, zorder=0.4)
    equation_lines(axes, data.equation_starts)
    output_line(axes, data.output_start, named=True)
    marker = max(1.7, min(_MARKER, 0.4 * pitch(axes, len(tokens))))
    for index in range(len(data.variables)):
        colour, best, given = COLOURS[index], grid.best[:, index], data.given[:, index]
        axes.plot(
            tokens, data.ceiling[:, index], color=colour, linewidth=0.8, dashes=_DASHES, alpha=0.75, zorder=4
        )
        axes.plot(tokens, best, color=colour, linewidth=0.41 * marker, zorder=5)
        for mask, face in ((~given, colour), (given, "white")):
            points = axes.plot(tokens[mask], best[mask], color=colour, linestyle="none", zorder=6)
            points[0].set(marker=MARKERS[index], markersize=marker, markerfacecolor=face, markeredgewidth=0.7)


def legend_handles(*runs: FigureData) -> list[Line2D]:
    """One entry per variable, one for the ceiling, and one for printed values where there are any."""
    data = runs[0]
    handles = [
        Line2D([], [], color=COLOURS[i], marker=MARKERS[i], markersize=_MARKER, linewidth=1.2, label=variable)
        for i, variable in enumerate(data.variables)
    ]
    handles.append(Line2D([], [], color=GREY, linewidth=0.8, dashes=_DASHES, label="ceiling"))
    if any(run.given.any() for run in runs):
        hollow = Line2D([], [], color=GREY, linestyle="none", marker="o", label="value already printed")
        hollow.set(markersize=_MARKER, markerfacecolor="white", markeredgewidth=0.7)
        handles.append(hollow)
    return handles
