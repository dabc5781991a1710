"""The same from Python: start a run, wait for it, get its scores as a DataFrame and its figures.

`docs/python.md` shows it. The functions find the deployment as the commands do (environment, `.env`, the working
folder), print nothing on standard output, and load neither torch nor, before they are asked for one, pandas and
matplotlib. They raise `ArithError` (`arith_shared.errors`) where a command would print `Error:`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from arith_shared.errors import ArithError, MissingExtraError, RunNotFoundError
from arith_shared.ledger import groups, runs, views
from arith_shared.ledger.tables import RUN_OVER
from arith_shared.settings import load_settings
from arithctl import recipes
from arithctl.conclude import figure_data
from arithctl.connection import open_database
from arithctl.figures import Kind, Width, figure_of
from arithctl.output import COLUMNS, TYPES
from arithctl.pretrained import settle
from arithctl.submission import new_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["RunFailedError", "figure", "scores", "submit", "wait"]

#: Seconds between looks at the database.
_POLL_S = 0.5
#: Types of pandas that keep an absent value absent, whatever else stands in a column.
_PANDAS = {"text": "string", "integer": "Int64", "real": "float64", "flag": "boolean"}


class RunFailedError(ArithError):
    """Raised when the run that was waited for failed or was cancelled."""


def submit(
    recipe: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    seed: int | None = None,
    name: str | None = None,
    key: str | None = None,
) -> str:
    """Start a run of a recipe, or of a YAML file, with fields replaced; returns the run's id.

    `overrides` are fields by their path, for example ``{"probe.families": ["ridge"]}``; `name` and `key` are those
    of `arithctl submit`. Without services nothing works on the run before `wait`. Raises SpecError, DiskBudgetError
    or UnreachableError before anything is written.
    """
    found = recipes.load(recipe)
    spec = settle(found.resolve(list((overrides or {}).items()), seed))
    return new_run(load_settings(), spec, recipe=found.name, name=name, key=key)


def wait(run: str = "last", *, timeout_s: float | None = None) -> str:
    """Wait until a run is done; returns its id. Without services this process starts the workers, and stops them.

    A wait that ends early, by `timeout_s` (TimeoutError) or Ctrl-C, cancels nothing: `wait` again goes on. Raises
    RunFailedError when the run failed or was cancelled, with its error.
    """
    from arithctl.embedded import Engine

    settings = load_settings()
    give_up = None if timeout_s is None else time.monotonic() + timeout_s
    with open_database(settings) as database, Engine(settings, database) as engine:
        with database.reading() as session:
            run_id = runs.find(session, run).id
        while True:
            with database.reading() as session:
                view = views.run_view(session, run_id)
            if view.state in RUN_OVER:
                break
            if give_up is not None and time.monotonic() >= give_up:
                raise TimeoutError(f"{run_id} is {view.state} after {timeout_s:g} seconds; wait for it again")
            if settings.embedded:
                engine.ensure_started()
            time.sleep(_POLL_S)
    if view.state != "done":
        raise RunFailedError(f"{run_id} {view.state}: {view.error or 'it was stopped'}; resume it with "
                             f"`arithctl resume {run_id} --wait`")  # fmt: skip
    return run_id


def scores(*names: str) -> DataFrame:
    """The scores of runs and groups, the last by default: a row per (run, layer, position, variable, family).

    Columns and their order are those of `arithctl results --table scores`; a cell without a correlation has NaN and
    a `status` that says why. Raises RunNotFoundError for an unknown run and one that has no scores yet,
    MissingExtraError without pandas.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("a DataFrame needs pandas: pip install 'arithctl[api]'") from None
    rows: list[dict[str, Any]] = []
    with open_database(load_settings()) as database, database.reading() as session:
        for run in groups.find_all(session, names or ["last"]):
            found = views.table(session, run.id, "scores")
            if not found:
                raise RunNotFoundError(
                    f"{run.id} is {run.state} and has no scores yet; wait for its probe stage"
                )
            rows += found
    columns = COLUMNS["scores"]
    frame = pd.DataFrame([[row[column] for column in columns] for row in rows], columns=list(columns))
    return frame.astype({column: _PANDAS[TYPES[column]] for column in columns})


def figure(
    run: str = "last", *, family: str | None = None, kind: Kind = "paper", width: Width = "double"
) -> Figure:
    """A figure of a run as a matplotlib Figure: the paper's layout, or heatmaps; `savefig` writes it.

    `family` is a probe family of the run, by default its first. Raises RunNotFoundError for a run without scores,
    UserError for a family that it does not have, MissingExtraError without matplotlib.
    """
    with open_database(load_settings()) as database:
        data = figure_data(database, run)
    return figure_of(data, family or data.families[0], kind, width)
