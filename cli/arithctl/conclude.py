"""What a finished run leaves in a folder of the user's: tables and figures, and the summary on the screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from arith_shared.errors import MissingExtraError, RunNotFoundError
from arith_shared.ledger import runs, views
from arith_shared.ledger.database import Database
from arithctl.figures import FigureData, draw
from arithctl.output import COLUMNS, print_table, write_rows
from arithctl.verdicts import claim_rows

#: Result tables that a run has rows for.
TABLES = ("summary", "emergence", "scores")
#: What the screen shows of a claim; the file has the sentence and the reasons too.
_CLAIM = ("claim", "measured", "ci_low", "ci_high", "verdict")


def figure_data(database: Database, run_id: str) -> FigureData:
    """What the figures of a run show, from its rows alone."""
    with database.reading() as session:
        run = runs.find(session, run_id)
        scores = views.table(session, run.id, "scores")
        summary = views.table(session, run.id, "summary")
    if not scores:
        raise RunNotFoundError(
            f"{run.id} is {run.state} and has no scores to draw yet; wait for its probe stage"
        )
    return FigureData.from_rows(run.id, scores, title=run.name or "", summary=summary)


def conclude(database: Database, run_id: str, folder: Path, console: Console) -> None:
    """Print the summary and the best correlation per token; write all tables and figures below `folder`."""
    with database.reading() as session:
        tables = {name: views.table(session, run_id, name) for name in TABLES}
        tables["claims"] = claim_rows(session, [runs.find(session, run_id)])
    print_table(tables["summary"], COLUMNS["summary"][1:], title="Summary", console=console)
    print_table(tables["emergence"], COLUMNS["emergence"][1:], title="Emergence", console=console)
    if tables["claims"]:
        title = f"Claims of the paper (`arithctl results {run_id} --table claims` says why)"
        print_table(tables["claims"], _CLAIM, title=title, console=console)
    data = figure_data(database, run_id)
    for family in data.families:
        rows = _best_by_token(data, family)
        title = f"Pearson r by token, {family} probe (largest over layers)"
        print_table(rows, list(rows[0]), title=title, console=console)
    target = folder / run_id
    for name, rows in tables.items():
        path = target / f"{name}.csv"
        write_rows(rows, COLUMNS[name], "csv", path)
        console.print(f"table   {path}", highlight=False, soft_wrap=True)
    try:
        for path in draw(data, target):
            if path.suffix != ".csv":
                console.print(f"figure  {path}", highlight=False, soft_wrap=True)
    except MissingExtraError as error:
        console.print(f"no figures: {error}", highlight=False, soft_wrap=True)


def _best_by_token(data: FigureData, family: str) -> Sequence[dict[str, Any]]:
    """One row per position: token, largest correlation over the layers and ceiling of each variable."""
    best = data.grid(family).best
    rows = []
    for position, token in enumerate(data.labels):
        row: dict[str, Any] = {"position": position, "token": token}
        for index, variable in enumerate(data.variables):
            row[f"r({variable})"] = _number(best[position, index])
            row[f"ceiling({variable})"] = _number(data.ceiling[position, index])
        rows.append(row)
    return rows


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
