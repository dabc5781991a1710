"""`arithctl delete`."""

from __future__ import annotations

import click

from arithctl.options import run_argument


@click.command(epilog="Example:  arithctl delete last --yes")
@run_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(run: str, yes: bool) -> None:
    """Remove a run that is over, or a group of them, with the scores.

    Files stay until `arithctl gc`: other runs may use them.
    """
    from arith_shared.errors import UserError
    from arith_shared.ledger import groups, runs
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database

    with open_database(load_settings()) as database:
        with database.reading() as session:
            named = groups.find(session, run)
        if not yes:
            state = groups.state_of({one.state for one in named.runs})
            many = f", {len(named.runs)} runs" if named.is_group else ""
            click.confirm(f"Remove {named.id} ({state}{many}) and all its results?", abort=True, err=True)
        if named.is_group and any(one.state == "active" for one in named.runs):
            raise UserError(f"{named.id} has active runs: `arithctl cancel {named.id}` first, then delete it")
        for one in named.runs:
            with database.transaction() as session:
                runs.delete(session, one.id)
    click.echo(f"{named.id} is deleted; `arithctl gc` frees the files that no other run uses")
