"""`arithctl cancel`."""

from __future__ import annotations

import click

from arithctl.options import run_argument


@click.command(epilog="Example:  arithctl cancel last")
@run_argument
def cancel(run: str) -> None:
    """Stop a run: waiting units at once, running ones at their next heartbeat. What is finished is kept."""
    from arith_shared.ledger import runs
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database

    with open_database(load_settings()) as database, database.transaction() as session:
        found = runs.find(session, run)
        stopped = runs.cancel(session, found.id)
        session.refresh(found)
        click.echo(f"{found.id}: {found.state}" if stopped else f"{found.id} is over already: {found.state}")
