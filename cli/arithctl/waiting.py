"""Waiting for a run: embedded, this process is the engine meanwhile; otherwise it only looks on."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from arith_shared.ledger import views
from arith_shared.settings import Settings
from arithctl.conclude import conclude
from arithctl.connection import open_database
from arithctl.embedded import Engine
from arithctl.errors import RUN_FAILED, Failure
from arithctl.progress import watch


def wait_for(settings: Settings, run_id: str, output: Path, *, quiet: bool = False) -> None:
    """Show progress until the run is over, then its results; exits with 1 if it failed or was cancelled."""
    console = Console(stderr=quiet, highlight=False)
    console.print(f"run {run_id}", soft_wrap=True)
    with open_database(settings) as database:
        with ExitStack() as stack:
            engine = stack.enter_context(Engine(settings, database)) if settings.embedded else None
            try:
                view = watch(database, run_id, console, engine.ensure_started if engine else _nothing)
            except KeyboardInterrupt:
                console.print("\nhanding the units in work back ...")
                stack.close()
                again = (
                    f"`arithctl resume {run_id} --wait` continues"
                    if engine
                    else f"`arithctl status {run_id}` shows it"
                )
                message = f"detached; {again}, `arithctl cancel {run_id}` stops the run"
                raise Failure(message, RUN_FAILED) from None
        if view.state != "done":
            raise _failure(view)
        conclude(database, run_id, output, console)


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
