"""`arithctl logs`."""

from __future__ import annotations

import datetime
import time

import click

from arithctl.options import run_argument


@click.command(epilog="Example:  arithctl logs last -f")
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Keep printing until the run is over.")
@click.option("--errors", is_flag=True, help="Print the traceback of every attempt that failed.")
def logs(run: str, follow: bool, errors: bool) -> None:
    """Show what happened to a run: its events, and with --errors why attempts failed."""
    from arith_shared.ledger import runs, views
    from arith_shared.ledger.tables import RUN_OVER
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database

    with open_database(load_settings()) as database:
        seen = 0
        while True:
            with database.reading() as session:
                found = runs.find(session, run)
                for event in views.events(session, found.id, after=seen):
                    seen = event.id
                    at = datetime.datetime.fromtimestamp(event.at, datetime.UTC)
                    click.echo(f"{at:%Y-%m-%d %H:%M:%S}Z  {event.kind:<16} {event.message}".rstrip())
            if not follow or found.state in RUN_OVER:
                break
            time.sleep(1.0)
        if errors:
            with database.reading() as session:
                for attempt, stage, key in views.failures(session, found.id):
                    click.echo(
                        f"\n{stage} {key}, attempt {attempt.number}, on {attempt.host}:\n{attempt.error}"
                    )
