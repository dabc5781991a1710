"""The page: header, panels from top to bottom, caption; and how it becomes a file.

Panels are placed by hand instead of by a layout engine: the same rows then give the same bytes, and no
engine has to be trusted with the last millimetre. Nothing here uses pyplot, whose global state outlives a
figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from arithctl.figures.style import DPI, FONT, GREY, SMALL, TEXT, TITLE, house_style

#: Metadata that would differ between two drawings of the same rows.
_NO_DATES: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}

#: Inches left of the panels (axis labels), right of them, and around everything.
_LEFT, _RIGHT, _EDGE = 0.46, 0.08, 0.06
#: Inches between blocks of panels: beside each other (numbers of an axis stand there), and below each other.
_BESIDE, _BELOW = 0.26, 0.12
#: Line height as a multiple of the font size.
_LINE = 1.25
#: Below this width (inches) the legend has no room beside the subtitle.
_NARROW = 5.0


class Page:
    """A page of given width (inches) whose height follows from what stands on it."""

    def __init__(
        self, width: float, title: str, subtitle: str, caption: str, *, right: float = _RIGHT, across: int = 1
    ) -> None:
        """Set the words; `right` inches beside the panels are kept free, `across` blocks stand side by side."""
        self.narrow = width < _NARROW
        self._width, self._right, self._subtitle, self._across = width, right, subtitle, across
        self._title = wrap(title, width - 2 * _EDGE, TITLE, bold=True)
        self._caption = wrap(caption, width - 2 * _EDGE, SMALL)
        self._legend_below = self.narrow and bool(subtitle)

    def column(self, tokens: int) -> float:
        """Inches that each of `tokens` columns gets."""
        return (self._width - _LEFT - self._right - (self._across - 1) * _BESIDE) / self._across / tokens

    def build(self, heights: Sequence[float], gap: float, tokens: int) -> tuple[Figure, list[Axes]]:
        """Make the figure: a panel of each height, `gap` inches apart, and room for token labels below."""
        figure, (panels,) = self.blocks(heights, gap, tokens, [("", "")])
        return figure, panels

    def blocks(
        self, heights: Sequence[float], gap: float, tokens: int, heads: Sequence[tuple[str, str]]
    ) -> tuple[Figure, list[list[Axes]]]:
        """As `build`, with one such block of panels per head: its title, and a line below that."""
        header = (
            _EDGE + _inches(TITLE, len(self._title)) + _inches(SMALL, 2 if self._legend_below else 1) + 0.12
        )
        labels = _inches(TEXT, 1 if self.column(tokens) * 72 >= TEXT else 2) + 0.09
        head = _inches(TEXT, 1) + _inches(SMALL, 1) + 0.1 if any(heads[0]) else 0.0
        block = head + sum(heights) + gap * (len(heights) - 1) + labels
        rows = -(-len(heads) // self._across)
        footer = _inches(SMALL, len(self._caption)) + _EDGE
        height = header + rows * block + (rows - 1) * _BELOW + footer
        figure = Figure(figsize=(self._width, height))
        FigureCanvasAgg(figure)
        self._write(figure)
        blocks = []
        for number, words in enumerate(heads):
            row, place = divmod(number, self._across)
            left, top = _LEFT + place * (self.column(1) + _BESIDE), header + row * (block + _BELOW)
            self._write_head(figure, left, top, words)
            blocks.append(self._panels(figure, left, top + head, heights, gap))
        return figure, blocks

    def _panels(
        self, figure: Figure, left: float, top: float, heights: Sequence[float], gap: float
    ) -> list[Axes]:
        panels = []
        for panel in heights:
            x, y = self._place(figure, left, top + panel)
            panels.append(
                figure.add_axes((x, y, self.column(1) / self._width, panel / figure.get_figheight()))
            )
            top += panel + gap
        return panels

    def _write_head(self, figure: Figure, left: float, top: float, words: tuple[str, str]) -> None:
        title, line = words
        figure.text(*self._place(figure, left, top), title, size=TEXT, weight="bold", va="top")
        below = top + _inches(TEXT, 1)
        figure.text(*self._place(figure, left, below), line, size=SMALL, color=GREY, va="top")

    def legend(self, figure: Figure, handles: Sequence[Artist]) -> None:
        """Put the legend under the title: beside the subtitle, or on its own line of a narrow page."""
        line = 1.5 if self._legend_below else 0.5
        top = _EDGE + _inches(TITLE, len(self._title)) + line * _inches(SMALL, 1)
        figure.legend(
            handles=list(handles),
            loc="center left" if self.narrow else "center right",
            bbox_to_anchor=self._place(figure, _EDGE if self.narrow else self._width - _EDGE, top),
            ncols=len(handles),
            borderpad=0,
            borderaxespad=0,
            handlelength=1.5 if self.narrow else 1.9,
            handletextpad=0.45,
            columnspacing=0.8 if self.narrow else 1.3,
        )

    def _write(self, figure: Figure) -> None:
        style: dict[str, Any] = {"ha": "left", "va": "top", "linespacing": 1.2}
        figure.text(
            *self._place(figure, _EDGE, _EDGE), "\n".join(self._title), size=TITLE, weight="bold", **style
        )
        below = _EDGE + _inches(TITLE, len(self._title)) + 0.01
        figure.text(*self._place(figure, _EDGE, below), self._subtitle, size=SMALL, color=GREY, **style)
        bottom = figure.get_figheight() - _EDGE - _inches(SMALL, len(self._caption))
        figure.text(
            *self._place(figure, _EDGE, bottom), "\n".join(self._caption), size=SMALL, color=GREY, **style
        )

    def _place(self, figure: Figure, left: float, top: float) -> tuple[float, float]:
        """Inches from the left and top edges, as shares of the figure."""
        return left / self._width, 1 - top / figure.get_figheight()


def wrap(text: str, room: float, size: float, *, bold: bool = False) -> list[str]:
    """Break `text` into lines of at most `room` inches, by the true widths of its letters."""
    font = FontProperties(family=FONT, size=size, weight="bold" if bold else "normal")
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_to_path.get_text_width_height_descent(longer, font, False)[0] <= room * 72:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def save(figure: Figure, path: Path, format_: str) -> None:
    """Write `figure` to `path`; the same figure gives the same bytes."""
    with house_style():
        figure.savefig(path, format=format_, dpi=DPI, metadata=_NO_DATES[format_])


def _inches(points: float, lines: int) -> float:
    return lines * points * _LINE / 72
