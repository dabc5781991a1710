"""Waiting for a run or group: embedded, this process is the engine meanwhile; otherwise it only looks on."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import click
from rich.console import Console

from arith_shared.ahead import ImportsAhead
from arith_shared.ledger import groups, runs, views
from arith_shared.ledger.database import Database
from arith_shared.ledger.groups import Named
from arith_shared.settings import Settings
from arithctl.conclude import conclude, conclude_group
from arithctl.connection import open_database
from arithctl.embedded import Engine
from arithctl.errors import RUN_FAILED, Failure
from arithctl.progress import watch

#: What drawing imports in the end: a third of the time from the last score to the last figure.
_DRAWING = (
    "arithctl.figures.paper",
    "arithctl.figures.heatmaps",
    "matplotlib.backends.backend_pdf",
    "fontTools.subset",
)
#: Seconds in which a second Ctrl-C asks whether to cancel.
_SECOND_S = 3.0


def wait_for(settings: Settings, name: str, output: Path, *, quiet: bool = False) -> None:
    """Show progress until the run or group is over, then its results; exits with 1 unless all is done.

    Ctrl-C detaches; on a terminal a second one asks whether to cancel.
    """
    console = Console(stderr=quiet, highlight=False)
    with open_database(settings) as database:
        with database.reading() as session:
            named = groups.find(session, name)
        console.print(f"{'group' if named.is_group else 'run'} {named.id}", soft_wrap=True)
        drawing = ImportsAhead(_DRAWING)
        with ExitStack() as stack:
            engine = stack.enter_context(Engine(settings, database)) if settings.embedded else None
            while True:
                try:
                    _watch(database, named, console, engine)
                    break
                except KeyboardInterrupt:
                    if not _wants_to_cancel(named, console):
                        _let_go(stack, console, engine)
                        raise Failure(_detached(named, engine), RUN_FAILED) from None
                    _cancel(database, named)
            if engine is not None:
                engine.stop_soon()
            drawing.needed()
            seen = _conclude(database, named, output, console)
    failures = [_failure(view) for view in seen if view.state != "done"]
    if failures:
        raise Failure("\n".join(failure.message for failure in failures), RUN_FAILED)


def _watch(database: Database, named: Named, console: Console, engine: Engine | None) -> None:
    ids = [run.id for run in named.runs]
    each_poll = engine.ensure_started if engine else _nothing
    watch(database, lambda _: ids, console, each_poll, title=named.id if named.is_group else "")


def _conclude(database: Database, named: Named, output: Path, console: Console) -> list[views.RunView]:
    """Print and draw the results of what is done; returns all runs."""
    with database.reading() as session:
        seen = [views.run_view(session, run.id) for run in named.runs]
    if named.is_group:
        conclude_group(database, named, [view.id for view in seen if view.state == "done"], output, console)
    elif seen[0].state == "done":
        conclude(database, named.id, output, console)
    return seen


def _wants_to_cancel(named: Named, console: Console) -> bool:
    """After a first Ctrl-C: whether a second one comes soon, and the person then says yes."""
    if not (console.is_terminal and sys.stdin.isatty()):
        return False
    console.print(
        f"detaching; Ctrl-C again within {_SECOND_S:.0f} s to cancel {named.id} instead", soft_wrap=True
    )
    try:
        time.sleep(_SECOND_S)
    except KeyboardInterrupt:
        try:
            return click.confirm(f"\nCancel {named.id}? What is finished is kept", err=True)
        except click.Abort:
            return False
    return False


def _cancel(database: Database, named: Named) -> None:
    for run in named.runs:
        with database.transaction() as session:
            runs.cancel(session, run.id)


def _let_go(stack: ExitStack, console: Console, engine: Engine | None) -> None:
    """Stop an engine of ours; what it worked on goes back."""
    if engine is not None and not engine.is_elsewhere:
        console.print("handing the units in work back ...")
    with suppress(KeyboardInterrupt):
        stack.close()


def _detached(named: Named, engine: Engine | None) -> str:
    """What becomes of the work now, and how to come back to it."""
    if engine is None:
        return (
            f"detached; the services go on with it. `arithctl status {named.id} --watch` shows it, "
            f"`arithctl cancel {named.id}` stops it"
        )
    if engine.is_elsewhere:
        return (
            f"detached; another command's workers go on with it. `arithctl status {named.id} --watch` shows it, "
            f"`arithctl cancel {named.id}` stops it"
        )
    return (
        f"detached; its workers belonged to this command and have ended with it. `arithctl resume {named.id} --wait` "
        f"continues where they stopped, `arithctl cancel {named.id}` gives it up"
    )


def _nothing() -> None:
    pass


def _failure(view: views.RunView) -> Failure:
    if view.state == "cancelled":
        return Failure(f"{view.id} was cancelled; `arithctl resume {view.id}` continues it", RUN_FAILED)
    message = f"{view.id} failed: {view.error}"
    if view.error is None or f"arithctl resume {view.id}" not in view.error:
        message += (
            f"\n`arithctl logs {view.id} --errors` shows why, "
            f"`arithctl resume {view.id}` tries again what is missing"
        )
    return Failure(message, RUN_FAILED)
