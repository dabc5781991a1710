"""From rows to files: the paper's figure and the heatmaps of each probe family, and the numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from arith_shared.errors import MissingExtraError, UserError
from arithctl.figures.data import FigureData, Row
from arithctl.output import COLUMNS, replacing, write_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FigureFormat = Literal["png", "pdf", "svg"]
Width = Literal["double", "single"]
#: The paper's layout, lines above and bars below; or a heatmap for each variable.
Kind = Literal["paper", "heatmaps"]

#: Every format of `draw`, for the help of an option.
FIGURE_FORMATS: tuple[FigureFormat, ...] = get_args(FigureFormat)


def draw(
    data: FigureData, folder: Path, formats: Sequence[str] = ("png", "pdf"), width: Width = "double"
) -> list[Path]:
    """Write ``<run>-<family>-fig2`` and ``<run>-<family>-heatmaps`` into `folder`, in each format and as CSV.

    Where a chain was probed, the first is called ``fig3``, as the paper's figure is. Returns the paths in the order
    of writing. Raises UserError for an unknown format, MissingExtraError if matplotlib is not installed.
    """
    _check(formats)
    paths = []
    for family in data.families:
        names: dict[Kind, str] = {"paper": _paper_name(data), "heatmaps": "heatmaps"}
        for kind, name in names.items():
            rows = [{"run": data.run, **row} for row in data.family_rows(family)]
            figure = figure_of(data, family, kind, width)
            paths += _save(figure, folder, f"{data.run}-{family}-{name}", formats, rows)
    return paths


def figure_of(data: FigureData, family: str, kind: Kind = "paper", width: Width = "double") -> Figure:
    """One figure of a run, as a matplotlib Figure that pyplot does not know.

    Raises UserError for a family that the run does not have and an unknown kind, MissingExtraError if matplotlib is
    not installed.
    """
    _check_matplotlib()
    # Only now: matplotlib takes longer to load than most commands to run, and may be missing.
    from arithctl.figures.heatmaps import heatmap_figure
    from arithctl.figures.paper import paper_figure
    from arithctl.figures.style import WIDTHS

    makers = {"paper": paper_figure, "heatmaps": heatmap_figure}
    for what, known, found in (
        ("probe family", data.families, family), ("kind", makers, kind), ("width", WIDTHS, width)
    ):  # fmt: skip
        if found not in known:
            raise UserError(f"{data.run}: expected a {what} among {', '.join(known)}, found {found!r}")
    return makers[kind](data, family, WIDTHS[width])


def draw_together(
    runs: Sequence[FigureData], folder: Path, formats: Sequence[str] = ("png", "pdf"), width: Width = "double"
) -> list[Path]:
    """Write ``<run>-<run>-<family>-fig2``: the paper's layout, the runs side by side, for families that all have.

    Returns and raises as `draw` does; raises UserError also for runs that have no family in common, or not the same
    variables.
    """
    _check(formats)
    from arithctl.figures.style import WIDTHS
    from arithctl.figures.together import together_figure

    families = [name for name in runs[0].families if all(name in run.families for run in runs)]
    if not families or len({run.variables for run in runs}) > 1:
        found = ", ".join(f"{run.run}: {'/'.join(run.families)} of {''.join(run.variables)}" for run in runs)
        raise UserError(f"runs drawn together need a probe family and all variables in common; found {found}")
    paths = []
    for family in families:
        figure = together_figure(runs, family, WIDTHS[width])
        stem = f"{'-'.join(run.run for run in runs)}-{family}-{_paper_name(runs[0])}"
        rows = [{"run": run.run, **row} for run in runs for row in run.family_rows(family)]
        paths += _save(figure, folder, stem, formats, rows)
    return paths


def draw_differences(
    rows: Sequence[Row],
    destination: Path,
    remarks: Callable[[Sequence[Row]], Sequence[str]],
    width: Width = "double",
) -> list[Path]:
    """Draw the rows of a comparison at the runs' best layers to `destination`, in the format that its name ends in.

    With several probe families each gets a file, its name put before the ending. What `remarks` says of the rows of a
    figure shows stands below it. Returns the paths. Raises UserError for an unknown ending, MissingExtraError if
    matplotlib is not installed.
    """
    _check([destination.suffix.removeprefix(".")])
    from arithctl.figures.differences import differences_figure
    from arithctl.figures.page import save
    from arithctl.figures.style import WIDTHS

    cells = [row for row in rows if row["metric"] != "accuracy"]
    families = list(dict.fromkeys(row["family"] for row in cells))
    paths = []
    for family in families:
        suffix = f"-{family}" if len(families) > 1 else ""
        paths.append(destination.with_name(f"{destination.stem}{suffix}{destination.suffix}"))
        shown = [row for row in rows if row["family"] in (family, None)]
        figure = differences_figure(shown, family, WIDTHS[width], remarks(shown))
        with replacing(paths[-1]) as temporary:
            save(figure, temporary, destination.suffix.removeprefix("."))
    return paths


def _paper_name(data: FigureData) -> str:
    """Figure 2 shows questions, figure 3 chains."""
    return "fig2" if data.output_start is None else "fig3"


def _save(figure: Figure, folder: Path, stem: str, formats: Sequence[str], rows: Sequence[Row]) -> list[Path]:
    """Write the figure in each format, and the numbers in it as CSV."""
    from arithctl.figures.page import save

    paths = []
    for format_ in dict.fromkeys(formats):
        paths.append(folder / f"{stem}.{format_}")
        with replacing(paths[-1]) as temporary:
            save(figure, temporary, format_)
    paths.append(folder / f"{stem}.csv")
    write_rows(rows, COLUMNS["scores"], "csv", paths[-1])
    return paths


def _check(formats: Sequence[str]) -> None:
    unknown = [name for name in formats if name not in FIGURE_FORMATS]
    if unknown or not formats:
        found = ", ".join(map(repr, unknown)) or "none"
        raise UserError(f"expected figure formats among {', '.join(FIGURE_FORMATS)}, found {found}")
    _check_matplotlib()


def _check_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401  (asked only whether it is there)
    except ImportError:
        raise MissingExtraError("figures need matplotlib: pip install 'arithctl[figures]'") from None
