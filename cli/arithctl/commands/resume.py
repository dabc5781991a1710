"""`arithctl resume`."""

from __future__ import annotations

from pathlib import Path

import click

from arithctl.commands.submit import RESULTS
from arithctl.options import run_argument


@click.command(epilog="Example:  arithctl resume last --wait")
@run_argument
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
def resume(run: str, wait: bool, output: Path) -> None:
    """Continue a run: what failed or was cancelled is queued again, what succeeded is kept.

    An embedded run that was interrupted is still active; --wait carries on with it.
    """
    from arith_shared.ledger import runs
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database

    settings = load_settings()
    with open_database(settings) as database, database.transaction() as session:
        found = runs.find(session, run)
        again = runs.resume(session, found.id)
        session.refresh(found)
    click.echo(f"{found.id}: {found.state}, units queued again: {again}", err=True)
    if wait:
        from arithctl.waiting import wait_for

        wait_for(settings, found.id, output)
