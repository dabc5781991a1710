"""`arithctl resume`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arithctl.commands.submit import RESULTS
from arithctl.options import run_argument

if TYPE_CHECKING:
    from arith_shared.ledger.database import Database
    from arith_shared.settings import Settings


@click.command(epilog="Example:  arithctl resume last --wait")
@run_argument
@click.option(
    "--repair",
    is_flag=True,
    help="Read every artifact of the run first, and make those again that are damaged; also of a done run.",
)
@click.option(
    "--wait", is_flag=True, help="Show progress until the run is over, then print and draw its results."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=RESULTS,
    show_default=True,
    help="Folder for the tables and figures of --wait.",
)
def resume(run: str, repair: bool, wait: bool, output: Path) -> None:
    """Continue a run, or all runs of a group: what failed or was cancelled is queued again, what succeeded is kept.

    Hidden states that were deleted to save space are made again if the work that is left reads them.

    An embedded run that was interrupted is still active; --wait carries on with it.
    """
    from arith_shared.ledger import groups, runs
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database

    settings = load_settings()
    with open_database(settings) as database:
        with database.reading() as session:
            named = groups.find(session, run)
        for one in named.runs:
            damaged = _damaged(settings, database, one.id) if repair else set()
            with database.transaction() as session:
                again = runs.resume(session, one.id, damaged)
                found = runs.find(session, one.id)
            click.echo(f"{found.id}: {found.state}, units queued again: {again}", err=True)
    if wait:
        from arithctl.waiting import wait_for

        wait_for(settings, named.id, output)


def _damaged(settings: Settings, database: Database, run_id: str) -> set[str]:
    """Content keys of the run's artifacts that do not verify; names each file."""
    from rich.console import Console

    from arithctl.connection import open_store
    from arithctl.integrity import verify

    store = open_store(settings)
    damaged = [one for one in verify(database, store, run_id, Console(stderr=True)) if one.damage]
    for one in damaged:
        click.echo(f"damaged  {one.stage} {one.unit}: {one.damage}", err=True)
    return {one.key for one in damaged}
