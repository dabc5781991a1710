"""Several runs in the paper's layout on one page: its figure 2 shows two models side by side.

On a narrow page, or when the texts are long (a chain), the models stand below each other, so that each token keeps
enough room for its bars.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from arithctl.figures.captions import FAMILIES, accuracy_line, headline, probe_line
from arithctl.figures.data import FigureData
from arithctl.figures.lines import legend_handles, line_panel
from arithctl.figures.page import Page
from arithctl.figures.paper import bar_panel, row_height
from arithctl.figures.style import TEXT, house_style

#: Tokens of a text from which on it takes the whole width.
_LONG = 30
#: Inches of all layers of all models that stand below each other, at most.
_ROWS = 6.0
#: Below this width (inches) models stand below each other.
_NARROW = 5.0


def together_figure(runs: Sequence[FigureData], family: str, width: float) -> Figure:
    """Draw `family` of all `runs` on a page `width` inches wide; they must have the same variables."""
    with house_style():
        tokens = max(len(run.labels) for run in runs)
        across = 2 if width > _NARROW and tokens < _LONG else 1
        page = Page(width, _title(family), "", caption(runs, family), across=across)
        layers = max(len(run.layers) for run in runs)
        below = -(-len(runs) // across)
        heights = [0.8 if page.narrow else 1.0, min(row_height(layers), _ROWS / (below * layers)) * layers]
        # The head of a narrow column has room for a name alone.
        room = page.column(1) * 72 / (0.62 * TEXT)
        heads = [(_short(headline(run), run.name, room), accuracy_line(run)) for run in runs]
        figure, blocks = page.blocks(heights, 0.09, tokens, heads)
        page.legend(figure, legend_handles(*runs))
        for number, (run, (lines, bars)) in enumerate(zip(runs, blocks, strict=True)):
            grid = run.grid(family)
            line_panel(lines, run, grid)
            bar_panel(bars, run, grid)
            if number % across:
                for axes in (lines, bars):
                    axes.set_ylabel("")  # the panel to the left says it
        return figure


def caption(runs: Sequence[FigureData], family: str) -> str:
    """What the reader needs to know, in one paragraph."""
    grids = [run.grid(family) for run in runs]
    sizes = list(dict.fromkeys(probe_line(grid) for grid in grids))
    failed = "; a cross: the probe gave no correlation" if any(grid.failed.any() for grid in grids) else ""
    given = (
        "; pale with a dot: the text has printed the value" if any(run.given.any() for run in runs) else ""
    )
    return (
        f"{' '.join(sizes)} Top: the best layer at each token; dashed: the ceiling, the best correlation that any "
        f"reader of the tokens so far could reach. Bottom: one bar per variable, full cell = 1{failed}{given}."
    )


def _title(family: str) -> str:
    return f"Correlation by layer and token, {FAMILIES.get(family, family).split(' (')[0]}"


def _short(title: str, name: str, room: float) -> str:
    if len(title) <= room:
        return title
    return name if len(name) <= room else f"{name[: int(room) - 1]}…"
