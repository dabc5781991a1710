"""What a finished run leaves in a folder of the user's: tables and figures, and the summary on the screen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from arith_shared.errors import MissingExtraError, RunNotFoundError
from arith_shared.ledger import groups, runs, views
from arith_shared.ledger.database import Database
from arithctl.figures import FigureData, draw
from arithctl.means import mean_figures, mean_rows
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
    tables = _tables(database, run_id)
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
    _save(folder / run_id, tables, [data], console)


def conclude_group(
    database: Database, group: groups.Named, done: Sequence[str], folder: Path, console: Console
) -> None:
    """Print a group's means over seeds; write them, their figures and the tables of each run that is done."""
    for run_id in done:
        _save(folder / run_id, _tables(database, run_id), [figure_data(database, run_id)], console)
    if not done:
        return
    with database.reading() as session:
        means = {f"mean {name}": mean_rows(session, group, name) for name in TABLES}
    for name in ("mean summary", "mean emergence"):
        what = " of offset_from_own_equation" if name == "mean emergence" else ""
        title = f"{name.capitalize()}{what} over seeds, with the interval over runs"
        print_table(means[name], COLUMNS[name][1:], title=title, console=console)
    _save(folder / group.id, means, mean_figures(database, group), console)


def _tables(database: Database, run_id: str) -> dict[str, list[dict[str, Any]]]:
    with database.reading() as session:
        tables = {name: views.table(session, run_id, name) for name in TABLES}
        return tables | {"claims": claim_rows(session, [runs.find(session, run_id)])}


def _save(
    target: Path,
    tables: Mapping[str, Sequence[dict[str, Any]]],
    figures: Sequence[FigureData],
    console: Console,
) -> None:
    """Write tables and figures into a folder, and say where they are."""
    for name, rows in tables.items():
        path = target / f"{name.replace(' ', '-')}.csv"
        write_rows(rows, COLUMNS[name], "csv", path)
        console.print(f"table   {path}", highlight=False, soft_wrap=True)
    try:
        for path in (path for data in figures for path in draw(data, target)):
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
