"""One look for all figures: colours, letters, and the marks that every panel shares.

Sizes are points and inches of the printed page, since a figure that is scaled to fit a column no longer has
the letters it was designed with.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

#: Colours of A, B, C, ...: Okabe and Ito's set, which readers with any colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Markers repeat what the colours say, for print in grey.
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, GREY, LIGHT, PAPER = "#1A1A1A", "#5F6368", "#C9CDD2", "#F3F4F6"

#: Font sizes in points; nothing is set smaller than the last.
TITLE, TEXT, SMALL = 8.0, 6.8, 6.0
#: Family of all letters. It comes with matplotlib, so every machine draws the same ones.
FONT = "DejaVu Sans"
#: Page widths in inches: two columns and one column of a conference paper.
WIDTHS = {"double": 6.9, "single": 3.3}
#: Dots per inch of PNG files.
DPI = 300

# Any: matplotlib types the keys as a literal of all its settings.
_STYLE: dict[Any, Any] = {
    "font.family": FONT,
    "font.size": TEXT,
    "text.color": INK,
    "text.parse_math": False,  # a title with two dollar signs is no formula
    "axes.edgecolor": LIGHT,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": SMALL,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.major.pad": 2.5,
    "ytick.major.pad": 2.5,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "pdf.fonttype": 42,  # TrueType: Type 3 fonts are refused by many publishers
    "svg.hashsalt": "arithctl",  # names inside the file follow from the figure, not from a random number
}


def house_style() -> AbstractContextManager[None]:
    """Settings under which a figure is made and saved; what the caller had set is restored afterwards."""
    # The defaults first, so that a reader's matplotlibrc does not change the figure.
    defaults = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}
    return mpl.rc_context(defaults | _STYLE)


def pitch(axes: Axes, columns: int) -> float:
    """Width in points of one of `columns` columns of the panel."""
    return axes.get_window_extent().width / axes.get_figure(root=True).dpi * 72 / columns  # type: ignore[union-attr]


def token_axis(axes: Axes, labels: Sequence[str]) -> None:
    """One column per token, with its label below; crowded labels stand in two rows, turn about."""
    axes.set_xlim(-0.5, len(labels) - 0.5)
    drop = "\n" if pitch(axes, len(labels)) < TEXT else ""
    axes.set_xticks(range(len(labels)), [f"{drop if i % 2 else ''}{label}" for i, label in enumerate(labels)])


def layer_axis(axes: Axes, layers: Sequence[int], *, above: tuple[float, str] | None = None) -> None:
    """One row per layer from the bottom up, at most about nine of them named, and a name `above` them all."""
    shown = range(0, len(layers), max(1, -(-len(layers) // 9)))
    names = [(index + 0.5, str(layers[index])) for index in shown] + ([above] if above else [])
    axes.set_yticks([y for y, _ in names], [name for _, name in names])


def y_label(axes: Axes, label: str, *, middle: float = 0.5, **text: Any) -> None:
    """Label the vertical axis; the labels of all panels end at the same distance (points) from them."""
    axes.set_ylabel(label, **text)
    axes.yaxis.set_label_coords(-14 / pitch(axes, 1), middle)


def equation_lines(axes: Axes, starts: Sequence[int], *, over: bool = False) -> None:
    """A light line before each equation; a white one where it goes `over` a filled panel."""
    colour, width, order = ("white", 1.6, 3) if over else (LIGHT, 0.7, 0.5)
    for start in starts:
        axes.axvline(start - 0.5, color=colour, linewidth=width, zorder=order)


def output_line(axes: Axes, start: int | None, *, named: bool = False) -> None:
    """A dark line where the LM begins to write, with its name above the panel if `named`."""
    if start is None:
        return
    axes.axvline(start - 0.5, color=GREY, linewidth=0.9, zorder=3)
    if named:
        place = blended_transform_factory(axes.transData, axes.transAxes)
        words = "written by the LM \N{RIGHTWARDS ARROW}"
        axes.text(start - 0.4, 1.0, words, size=SMALL, color=GREY, va="bottom", transform=place)
