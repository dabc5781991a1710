"""`arithctl delete`."""

from __future__ import annotations

import click

from arithctl.options import run_argument


@click.command(epilog="Example:  arithctl delete last --yes")
@run_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(run: str, yes: bool) -> None:
    """Remove a run that is over, with its scores. Its files stay until `arithctl gc`, other runs may use them."""
    from arith_shared.ledger import runs
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database

    with open_database(load_settings()) as database:
        with database.reading() as session:
            found = runs.find(session, run)
        if not yes:
            click.confirm(f"Remove {found.id} ({found.state}) and all its results?", abort=True, err=True)
        with database.transaction() as session:
            runs.delete(session, found.id)
    click.echo(f"{found.id} is deleted; `arithctl gc` frees the files that no other run uses")
