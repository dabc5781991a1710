"""What a run has found: its page, the report live, with tables and figures to read and to download."""

from __future__ import annotations

from typing import Any, Literal, get_args
from urllib.parse import urlencode

from fastapi import FastAPI, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from arith_shared.errors import RunNotFoundError
from arith_shared.ledger import runs, views
from arith_shared.ledger.tables import Run
from arithctl.dashboard.answers import page
from arithctl.dashboard.drawing import Drawings
from arithctl.dashboard.files import Download, FigureFile, attached, shown, written
from arithctl.dashboard.ledger import Ledger
from arithctl.dashboard.live import run_values
from arithctl.dashboard.reports import SCRIPTS, Reports, scored_families
from arithctl.output import COLUMNS
from arithctl.verdicts import claim_rows

Table = Literal["summary", "emergence", "claims", "scores"]

_TABLES: tuple[Table, ...] = get_args(Table)
#: Rows of a table on one page; the downloads have all.
_PAGE = 300


def add_routes(app: FastAPI, ledger: Ledger, reports: Reports, drawings: Drawings) -> None:
    """Everything that is read from result rows; a file's route comes before the page whose name it begins with."""
    methods = ["GET", "HEAD"]

    @app.api_route("/runs/{run}", methods=methods)
    def run_page(run: str) -> Response:
        values = run_values(ledger, run)
        with ledger.reading() as session:
            found = runs.find(session, values["view"].id)
            families = scored_families(session, found.id)
        return page(
            "run.html", **values, run=found, charts=reports.of_run(found.id), families=families, scripts=SCRIPTS,
            names=_TABLES, downloads=get_args(Download), files=get_args(FigureFile),
        )  # fmt: skip

    @app.api_route("/runs/{run}/tables/{table}.{file}", methods=methods)
    def table_file(run: str, table: Table, file: Download) -> Response:
        with ledger.reading() as session:
            found = runs.find(session, run)
            rows = _rows(session, found, table)
        return attached(written(rows, table, file), f"{found.id}-{table}.{file}", file)

    @app.api_route("/runs/{run}/tables/{table}", methods=methods)
    def table_page(
        run: str,
        table: Table,
        family: str = "",
        variable: str = "",
        number: int = Query(1, alias="page", ge=1),
    ) -> Response:
        with ledger.reading() as session:
            found = runs.find(session, run)
            rows = _rows(session, found, table)
        return page("table.html", run=found.id, table=table, **_part(rows, table, family, variable, number))

    @app.api_route("/runs/{run}/figures/{family}/{name}.{file}", methods=methods)
    def figure_file(run: str, family: str, name: str, file: FigureFile, save: bool = False) -> Response:
        drawn = drawings.of_run(run, family, file)
        if name not in drawn:
            raise RunNotFoundError(f"there is no figure {name!r}; there are {', '.join(drawn)}")
        stem, content = drawn[name]
        return shown(content, stem, file, save)


def _rows(session: Session, run: Run, table: str) -> list[dict[str, Any]]:
    return claim_rows(session, [run]) if table == "claims" else views.table(session, run.id, table)


def _part(
    rows: list[dict[str, Any]], table: Table, family: str, variable: str, number: int
) -> dict[str, Any]:
    """One page of a table, and what may be chosen of it."""
    chosen = {"family": family, "variable": variable}
    choices = {name: sorted({row[name] for row in rows if name in row}) for name in chosen}
    for name, value in chosen.items():
        rows = [row for row in rows if not value or row.get(name) == value]
    pages = max(1, -(-len(rows) // _PAGE))
    number = min(number, pages)
    return {
        "rows": rows[(number - 1) * _PAGE : number * _PAGE],
        "columns": COLUMNS[table][1:],
        "total": len(rows),
        "choices": {name: values for name, values in choices.items() if len(values) > 1},
        "chosen": chosen,
        "number": number,
        "pages": pages,
        "link": urlencode({name: value for name, value in chosen.items() if value}),
        "downloads": get_args(Download),
    }
