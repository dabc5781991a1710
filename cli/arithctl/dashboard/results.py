"""What runs have found: their page with tables and figures, two of them side by side, and everything to download."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlencode

from fastapi import FastAPI, Query
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from arith_shared.analysis.panel import UNTRAINED_SUFFIX
from arith_shared.errors import RunNotFoundError
from arith_shared.ledger import runs, views
from arith_shared.ledger.tables import Run, Score
from arithctl.dashboard.answers import page
from arithctl.dashboard.drawing import Drawings
from arithctl.dashboard.ledger import Ledger
from arithctl.dashboard.live import run_values
from arithctl.output import COLUMNS, write_rows
from arithctl.verdicts import claim_rows

Table = Literal["summary", "emergence", "claims", "scores"]
Download = Literal["csv", "json", "parquet"]
FigureFile = Literal["png", "svg", "pdf"]

_TABLES: tuple[Table, ...] = get_args(Table)
_MIME = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "png": "image/png",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
}
#: Rows of a table on one page; the downloads have all.
_PAGE = 300


def add_routes(app: FastAPI, ledger: Ledger, drawings: Drawings) -> None:
    """Everything that is read from result rows; a file's route comes before the page whose name it begins with."""
    methods = ["GET", "HEAD"]

    @app.api_route("/runs/{run}", methods=methods)
    def run_page(run: str) -> Response:
        values = run_values(ledger, run)
        with ledger.reading() as session:
            found = runs.find(session, values["view"].id)
            tables = {name: _rows(session, [found], name) for name in ("summary", "emergence", "claims")}
            families = sorted(_cells(session, found.id))
        return page(
            "run.html", **values, run=found, tables=tables, columns=COLUMNS, families=families,
            names=_TABLES, downloads=get_args(Download), files=get_args(FigureFile),
        )  # fmt: skip

    @app.api_route("/runs/{run}/tables/{table}.{file}", methods=methods)
    def table_file(run: str, table: Table, file: Download) -> Response:
        with ledger.reading() as session:
            found = runs.find(session, run)
            rows = _rows(session, [found], table)
        return _attached(_written(rows, table, file), f"{found.id}-{table}.{file}", file)

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
            rows = _rows(session, [found], table)
        return page("table.html", run=found.id, table=table, **_part(rows, table, family, variable, number))

    @app.api_route("/runs/{run}/figures/{family}/{name}.{file}", methods=methods)
    def figure_file(run: str, family: str, name: str, file: FigureFile, save: bool = False) -> Response:
        drawn = drawings.of_run(run, family, file)
        if name not in drawn:
            raise RunNotFoundError(f"there is no figure {name!r}; there are {', '.join(drawn)}")
        stem, content = drawn[name]
        return _shown(content, stem, file, save)

    @app.api_route("/compare", methods=methods)
    def compare_page(run: Annotated[list[str] | None, Query()] = None) -> Response:
        return page("compare.html", **_comparison(ledger, run or []))

    @app.api_route("/compare/{family}.{file}", methods=methods)
    def compare_figure(
        family: str, file: FigureFile, run: Annotated[list[str], Query()], save: bool = False
    ) -> Response:
        stem, content = drawings.together(run, family, file)
        return _shown(content, stem, file, save)


def _rows(session: Session, found: list[Run], table: str) -> list[dict[str, Any]]:
    if table == "claims":
        return claim_rows(session, found)
    return [row for run in found for row in views.table(session, run.id, table)]


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


def _comparison(ledger: Ledger, texts: list[str]) -> dict[str, Any]:
    """Two or more runs, each with its rows, and the figures that show them together."""
    with ledger.reading() as session:
        found = list({run.id: run for run in (runs.find(session, text) for text in texts if text)}.values())
        offered = [row["run"] for row in views.run_list(session, 200) if row["state"] != "cancelled"]
        summary = [row for run in found for row in views.table(session, run.id, "summary")]
        emergence = [row for run in found for row in views.table(session, run.id, "emergence")]
        claims = claim_rows(session, found)
        cells = {run.id: _cells(session, run.id) for run in found}
    scored = [run for run, by_family in cells.items() if by_family]
    alike = [set(cells[run].items()) for run in scored] if len(scored) > 1 else [set()]
    families = sorted(family for family, _ in set.intersection(*alike))
    return {
        "found": found,
        "offered": offered,
        "summary": _side_by_side(found, summary, ("name",)),
        "emergence": _side_by_side(found, emergence, ("variable", "family", "threshold")),
        "claims": _side_by_side(found, claims, ("claim",)),
        "joint": [row for row in claims if row["run"] not in cells],
        "families": families,
        "files": get_args(FigureFile),
        "query": urlencode([("run", run) for run in scored]),
        "unscored": [run.id for run in found if run.id not in scored],
    }


def _side_by_side(
    found: list[Run], rows: list[dict[str, Any]], keys: tuple[str, ...]
) -> list[tuple[tuple[Any, ...], list[dict[str, Any] | None]]]:
    """Rows with the same keys together: the keys, and each run's row or None."""
    column = {run.id: index for index, run in enumerate(found)}
    by_key: dict[tuple[Any, ...], list[dict[str, Any] | None]] = {}
    for row in rows:
        if row["run"] in column:
            key = tuple(row[name] for name in keys)
            by_key.setdefault(key, [None] * len(found))[column[row["run"]]] = row
    return list(by_key.items())


def _cells(session: Session, run_id: str) -> dict[str, tuple[str, ...]]:
    """Variables that a run has scores of, by probe family; those of the untrained LM are no findings."""
    query = select(Score.family, Score.variable).where(Score.run_id == run_id).distinct()
    found: dict[str, tuple[str, ...]] = {}
    for family, variable in session.execute(query.order_by(Score.family, Score.variable)):
        if not family.endswith(UNTRAINED_SUFFIX):
            found[family] = (*found.get(family, ()), variable)
    return found


def _written(rows: list[dict[str, Any]], table: str, file: Download) -> bytes:
    """The rows as a file, in the same words as `arithctl results` writes them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        write_rows(rows, COLUMNS[table], file, path)
        return path.read_bytes()


def _attached(content: bytes, name: str, kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=_MIME[kind], headers=headers)


def _shown(content: bytes, stem: str, file: FigureFile, save: bool) -> Response:
    """A figure inside a page, or saved as a file."""
    return _attached(content, f"{stem}.{file}", file) if save else Response(content, media_type=_MIME[file])
