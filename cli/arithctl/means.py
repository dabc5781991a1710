"""A group's tables: means over the runs that differ in their seed only, with Student's interval over runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from arith_shared.analysis.sweep import Condition, over_runs
from arith_shared.errors import RunNotFoundError
from arith_shared.ledger import views
from arith_shared.ledger.database import Database
from arith_shared.ledger.groups import Named
from arithctl.figures import FigureData
from arithctl.sweeps import conditions_of

Row = dict[str, Any]

#: For each result table: what a row is about, the column that the mean is of, and columns that runs have in common.
_OVER: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "summary": (("name",), "value", ()),
    "scores": (
        ("layer", "position", "token", "variable", "family", "metric"),
        "value",
        ("ceiling", "given", "n_train", "n_eval", "status"),
    ),
    "emergence": (("variable", "family", "threshold"), "offset_from_own_equation", ()),
}


def mean_rows(session: Session, group: Named, table: str) -> list[Row]:
    """The means of a result table over the seeds of each condition of a group.

    `runs` is how many runs the mean is of, `runs_asked` how many have the row: a probe may diverge, a value never
    emerge. A mean of one run has no interval. Of `emergence` the mean is of `offset_from_own_equation`, in tokens.
    """
    keys, value, same = _OVER[table]
    rows = []
    for condition in conditions_of(group.runs):
        tables = [views.table(session, run, table) for run in condition.runs]
        asked = _counts(tables, keys)
        for row in over_runs(tables, keys, value, same):
            mean = row.pop(value)
            row |= {"mean": mean, "runs_asked": asked[tuple(row[key] for key in keys)]}
            rows.append({"group": group.id, "condition": condition.label, **row})
    return rows


def mean_figures(database: Database, group: Named) -> list[FigureData]:
    """What the figures of each condition of a group show: the mean over seeds of every cell.

    Raises RunNotFoundError when no run of the group has scores yet.
    """
    with database.reading() as session:
        scores, summary = (mean_rows(session, group, table) for table in ("scores", "summary"))
    if not scores:
        raise RunNotFoundError(f"{group.id} has no scores to draw yet; wait for its probe stages")
    found = conditions_of(group.runs)
    return [
        FigureData.from_rows(
            group.id if len(found) == 1 else f"{group.id}-{number}",
            _as_scores(cells),
            title=_title(condition),
            name="" if len(found) == 1 else _title(condition),
            summary=[_as_value(row) for row in summary if row["condition"] == condition.label],
        )
        for number, condition in enumerate(found, start=1)
        if (cells := [row for row in scores if row["condition"] == condition.label])
    ]


def _title(condition: Condition) -> str:
    """``lm.path=a, mean of 3 seeds``."""
    what = "" if condition.label == "all" else f"{condition.label}, "
    seeds = len(condition.runs)
    return f"{what}mean of {seeds} seeds" if seeds > 1 else f"{what}one seed"


def _as_scores(rows: Sequence[Row]) -> list[Row]:
    """Mean rows in the shape of score rows; a cell without a number says what the first run says."""
    return [
        {**_as_value(row), "control": None, "status": "ok" if row["mean"] is not None else row["status"]}
        for row in rows
    ]


def _as_value(row: Row) -> Row:
    return {**row, "value": row["mean"]}


def _counts(tables: Sequence[Sequence[Row]], keys: Sequence[str]) -> dict[tuple[Any, ...], int]:
    counts: dict[tuple[Any, ...], int] = {}
    for table in tables:
        for row in table:
            place = tuple(row[key] for key in keys)
            counts[place] = counts.get(place, 0) + 1
    return counts
