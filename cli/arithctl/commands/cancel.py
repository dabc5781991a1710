"""`arithctl cancel`."""

from __future__ import annotations

import click

from arithctl.options import run_argument


@click.command(epilog="Example:  arithctl cancel last")
@run_argument
def cancel(run: str) -> None:
    """Stop a run, or all runs of a group; what is finished is kept.

    Waiting units stop at once, running ones at their next heartbeat.
    """
    from arith_shared.ledger import groups, runs
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database

    with open_database(load_settings()) as database:
        with database.reading() as session:
            named = groups.find(session, run)
        for one in named.runs:
            with database.transaction() as session:
                stopped = runs.cancel(session, one.id)
                state = runs.find(session, one.id).state
            click.echo(f"{one.id}: {state}" if stopped else f"{one.id} is over already: {state}")
