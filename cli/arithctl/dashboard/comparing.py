"""Runs beside each other: the report's charts, the differences with their intervals, the paper's figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from fastapi import FastAPI, Query
from starlette.responses import Response

from arith_shared.errors import RunNotFoundError, UserError
from arith_shared.ledger import groups, views
from arithctl.dashboard.answers import page
from arithctl.dashboard.drawing import Drawings
from arithctl.dashboard.files import Download, FigureFile, attached, shown, written
from arithctl.dashboard.ledger import Ledger
from arithctl.dashboard.reports import SCRIPTS, Differences, Reports, scored_families

Names = Annotated[list[str], Query(alias="run")]

#: Runs that the page offers to choose from.
_OFFERED = 200
#: What the page shows of a difference; the downloads have every column.
_COLUMNS = (
    "run", "metric", "variable", "family", "position", "token", "value", "baseline_value", "difference", "ci_low",
    "ci_high", "n", "paired",
)  # fmt: skip


def add_routes(app: FastAPI, ledger: Ledger, reports: Reports, drawings: Drawings) -> None:
    """The page and its files."""
    methods = ["GET", "HEAD"]

    @app.api_route("/compare", methods=methods)
    def compare_page(names: Names = []) -> Response:  # noqa: B006 - FastAPI copies it
        return page("compare.html", **_values(ledger, reports, list(filter(None, names))))

    @app.api_route("/compare/differences.{file}", methods=methods)
    def differences_file(file: Download, names: Names) -> Response:
        found = reports.differences(names)
        return attached(written(found.rows, "differences", file), f"differences.{file}", file)

    @app.api_route("/compare/differences/{family}.{file}", methods=methods)
    def differences_figure(family: str, file: FigureFile, names: Names, save: bool = False) -> Response:
        stem, content = drawings.differences(names, family, file)
        return shown(content, stem, file, save)

    @app.api_route("/compare/figures/{family}.{file}", methods=methods)
    def figure(family: str, file: FigureFile, names: Names, save: bool = False) -> Response:
        stem, content = drawings.together(names, family, file)
        return shown(content, stem, file, save)


def _values(ledger: Ledger, reports: Reports, names: Sequence[str]) -> dict[str, Any]:
    """What the page shows of the runs and groups that were named."""
    with ledger.reading() as session:
        found = groups.find_all(session, names)
        offered = [row["run"] for row in views.run_list(session, _OFFERED)]
        families = [set(scored_families(session, run.id)) for run in found]
    several = len(found) > 1
    differences, refusal = _differences(reports, names) if several else (None, "")
    return {
        "found": found,
        "offered": offered,
        "query": urlencode([("run", name) for name in names]),
        "charts": reports.together(names) if several else None,
        "differences": differences,
        "remarks": differences.remarks(differences.rows) if differences else (),
        "refusal": refusal,
        "families": sorted(set.intersection(*families)) if several else [],
        "columns": [name for name in _COLUMNS if name != "run" or len(found) > 2],
        "scripts": SCRIPTS,
        "downloads": get_args(Download),
        "files": get_args(FigureFile),
    }


def _differences(reports: Reports, names: Sequence[str]) -> tuple[Differences | None, str]:
    """The comparison, or why there is none: runs may stand side by side that cannot be compared number by number."""
    try:
        return reports.differences(names), ""
    except (UserError, RunNotFoundError) as error:
        return None, str(error)
