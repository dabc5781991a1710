"""Waiting for a run or group: embedded, this process is the engine meanwhile; otherwise it only looks on."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from arith_shared.ledger import groups, views
from arith_shared.settings import Settings
from arithctl.conclude import conclude, conclude_group
from arithctl.connection import open_database
from arithctl.embedded import Engine
from arithctl.errors import RUN_FAILED, Failure
from arithctl.progress import watch


def wait_for(settings: Settings, name: str, output: Path, *, quiet: bool = False) -> None:
    """Show progress until the run or group is over, then its results; exits with 1 unless all is done."""
    console = Console(stderr=quiet, highlight=False)
    with open_database(settings) as database:
        with database.reading() as session:
            named = groups.find(session, name)
        ids = [run.id for run in named.runs]
        console.print(f"{'group' if named.is_group else 'run'} {named.id}", soft_wrap=True)
        with ExitStack() as stack:
            engine = stack.enter_context(Engine(settings, database)) if settings.embedded else None
            try:
                seen = [
                    watch(database, run, console, engine.ensure_started if engine else _nothing)
                    for run in ids
                ]
            except KeyboardInterrupt:
                console.print("\nhanding the units in work back ...")
                stack.close()
                again = (
                    f"`arithctl resume {named.id} --wait` continues"
                    if engine
                    else f"`arithctl status {named.id}` shows it"
                )
                message = f"detached; {again}, `arithctl cancel {named.id}` stops the run"
                raise Failure(message, RUN_FAILED) from None
        if named.is_group:
            conclude_group(
                database, named, [view.id for view in seen if view.state == "done"], output, console
            )
        elif seen[0].state == "done":
            conclude(database, named.id, output, console)
    failures = [_failure(view) for view in seen if view.state != "done"]
    if failures:
        raise Failure("\n".join(failure.message for failure in failures), RUN_FAILED)


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
