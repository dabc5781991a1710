"""Differences between runs by token: a panel per variable, a line per run, its 95 % interval as a band.

Zero is the baseline run. A printed value (hollow marker) can be read off the text by any run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from arithctl.figures.captions import FAMILIES
from arithctl.figures.page import Page
from arithctl.figures.style import (
    COLOURS,
    GREY,
    INK,
    LIGHT,
    MARKERS,
    equation_lines,
    house_style,
    pitch,
    token_axis,
    y_label,
)

Row = Mapping[str, Any]

#: Inches of a panel, and between two.
_PANEL, _GAP = 0.95, 0.16
_MARKER = 2.9
#: Distances between the numbers of the vertical axis.
_STEPS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_MINUS = "\N{MINUS SIGN}"
#: Tokens that end an equation.
_ENDS = (",", ";")


def differences_figure(rows: Sequence[Row], family: str, width: float, remarks: Sequence[str]) -> Figure:
    """Draw the best-layer differences of `family` on a page `width` inches wide."""
    with house_style():
        mine = [row for row in rows if row["family"] == family]
        tokens = {int(row["position"]): str(row["token"]) for row in mine}
        labels = [tokens.get(position, "") for position in range(max(tokens) + 1)]
        variables = sorted({row["variable"] for row in mine})
        runs = list(dict.fromkeys(row["run"] for row in mine))
        page = Page(width, _title(mine, runs), _accuracy(rows, runs), _caption(family, remarks))
        figure, panels = page.build([_PANEL] * len(variables), _GAP, len(labels))
        reach = _reach(mine)
        for axes, variable in zip(panels, variables, strict=True):
            own = [row for row in mine if row["variable"] == variable]
            _panel(axes, own, runs, labels, variable, reach, last=axes is panels[-1])
        page.legend(figure, _handles(runs, mine))
        return figure


def _panel(
    axes: Axes,
    rows: Sequence[Row],
    runs: Sequence[str],
    labels: Sequence[str],
    variable: str,
    reach: float,
    *,
    last: bool,
) -> None:
    token_axis(axes, labels)
    if not last:
        axes.set_xticks([])
    axes.set_ylim(-reach, reach)
    step = next(step for step in _STEPS if reach / step <= 3 or step == _STEPS[-1])
    ticks = [tick * step for tick in range(-int(reach / step), int(reach / step) + 1)]
    axes.set_yticks(ticks, [signed(tick) for tick in ticks])
    y_label(axes, f"{variable}: difference of r")
    # The signed numbers of this axis are wider than those of the others.
    axes.yaxis.set_label_coords(-21 / pitch(axes, 1), 0.5)
    axes.hlines(ticks, -0.5, len(labels) - 0.5, color=LIGHT, linewidth=0.4, zorder=0.4)
    axes.axhline(0, color=INK, linewidth=0.7, zorder=1)
    equation_lines(axes, [i + 1 for i, label in enumerate(labels[:-1]) if label in _ENDS])
    marker = max(1.7, min(_MARKER, 0.4 * pitch(axes, len(labels))))
    for number, run in enumerate(runs):
        _line(axes, [row for row in rows if row["run"] == run], len(labels), number, marker)


def _line(axes: Axes, rows: Sequence[Row], tokens: int, number: int, marker: float) -> None:
    """One run's line and band; markers repeat what the colour says, hollow where the value is printed."""
    x, colour = np.arange(tokens), COLOURS[number % len(COLOURS)]
    middle, low, high = (_column(rows, tokens, name) for name in ("difference", "ci_low", "ci_high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0, zorder=2)
    axes.plot(x, middle, color=colour, linewidth=0.41 * marker, zorder=5)
    given = {row["position"] for row in rows if row["given"]}
    printed = np.isin(x, list(given))
    for mask, face in ((~printed, colour), (printed, "white")):
        points = axes.plot(x[mask], middle[mask], color=colour, linestyle="none", zorder=6)
        points[0].set(marker=MARKERS[number % len(MARKERS)], markersize=marker, markerfacecolor=face)


def _column(rows: Sequence[Row], tokens: int, name: str) -> NDArray[np.float64]:
    """float64[token]; NaN where the runs have no such cell or no number in it."""
    column = np.full(tokens, np.nan)
    for row in rows:
        column[row["position"]] = np.nan if row[name] is None else row[name]
    return column


def _reach(rows: Sequence[Row]) -> float:
    """How far from zero the axes reach: all intervals, and 0.05 at least."""
    bounds = [
        abs(row[name])
        for row in rows
        for name in ("difference", "ci_low", "ci_high")
        if row[name] is not None
    ]
    return max(0.05, 1.08 * max(bounds, default=0.0))


def signed(value: float) -> str:
    """``0.1`` -> ``+.1``, ``-0.05`` -> ``−.05``, ``0`` -> ``0``."""
    if not value:
        return "0"
    digits = f"{abs(value):.2g}".removeprefix("0")
    return f"{'+' if value > 0 else _MINUS}{digits}"


def _title(rows: Sequence[Row], runs: Sequence[str]) -> str:
    baseline = rows[0]["baseline"]
    return f"{runs[0]} minus {baseline}" if len(runs) == 1 else f"Differences from {baseline}"


def _accuracy(rows: Sequence[Row], runs: Sequence[str]) -> str:
    found = {row["run"]: row for row in rows if row["metric"] == "accuracy"}
    if len(runs) > 1 or runs[0] not in found:
        return ""
    row = found[runs[0]]
    interval = (
        f" [{100 * row['ci_low']:+.1f}, {100 * row['ci_high']:+.1f}]" if row["ci_low"] is not None else ""
    )
    return f"accuracy {100 * row['difference']:+.1f} points{interval}".replace("-", _MINUS)


def _caption(family: str, remarks: Sequence[str]) -> str:
    what = FAMILIES.get(family, f"{family} probes")
    return f"Pearson r of {what} at each run's best layer; bands: 95 % intervals. {' '.join(remarks)}"


def _handles(runs: Sequence[str], rows: Sequence[Row]) -> list[Line2D]:
    handles = []
    if len(runs) > 1:
        handles = [
            Line2D(
                [],
                [],
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                markersize=_MARKER,
                label=run,
            )
            for i, run in enumerate(runs)
        ]
    if any(row["given"] for row in rows):
        hollow = Line2D([], [], color=GREY, linestyle="none", marker="o", label="value already printed")
        hollow.set(markersize=_MARKER, markerfacecolor="white", markeredgewidth=0.7)
        handles.append(hollow)
    return handles
