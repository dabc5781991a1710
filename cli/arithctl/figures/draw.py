"""From rows to files: the paper's figure and the heatmaps of each probe family, and the numbers in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from arith_shared.errors import MissingExtraError, UserError
from arithctl.figures.data import FigureData
from arithctl.output import COLUMNS, replacing, write_rows

FigureFormat = Literal["png", "pdf", "svg"]
Width = Literal["double", "single"]

#: Every format of `draw`, for the help of an option.
FIGURE_FORMATS: tuple[FigureFormat, ...] = get_args(FigureFormat)


def draw(
    data: FigureData, folder: Path, formats: Sequence[str] = ("png", "pdf"), width: Width = "double"
) -> list[Path]:
    """Write ``<run>-<family>-fig2`` and ``<run>-<family>-heatmaps`` into `folder`, in each format and as CSV.

    Returns the paths in the order of writing. Raises UserError for an unknown format, MissingExtraError if
    matplotlib is not installed.
    """
    unknown = [name for name in formats if name not in FIGURE_FORMATS]
    if unknown or not formats:
        found = ", ".join(map(repr, unknown)) or "none"
        raise UserError(f"expected figure formats among {', '.join(FIGURE_FORMATS)}, found {found}")
    _require_matplotlib()
    # Only now: matplotlib takes longer to load than most commands to run, and may be missing.
    from arithctl.figures.heatmaps import heatmap_figure
    from arithctl.figures.page import save
    from arithctl.figures.paper import paper_figure
    from arithctl.figures.style import WIDTHS

    paths = []
    for family in data.families:
        for name, make in (("fig2", paper_figure), ("heatmaps", heatmap_figure)):
            figure = make(data, family, WIDTHS[width])
            stem = f"{data.run}-{family}-{name}"
            for format_ in dict.fromkeys(formats):
                paths.append(folder / f"{stem}.{format_}")
                with replacing(paths[-1]) as temporary:
                    save(figure, temporary, format_)
            paths.append(_numbers(data, family, folder / f"{stem}.csv"))
    return paths


def _numbers(data: FigureData, family: str, path: Path) -> Path:
    rows = [{"run": data.run, **row} for row in data.family_rows(family)]
    write_rows(rows, COLUMNS["scores"], "csv", path)
    return path


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401  (asked only whether it is there)
    except ImportError:
        raise MissingExtraError("figures need matplotlib: pip install 'arithctl[figures]'") from None
