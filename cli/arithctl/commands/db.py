"""`arithctl db`."""

from __future__ import annotations

from contextlib import closing

import click


@click.group(epilog="Example:  arithctl db upgrade")
def db() -> None:
    """Upgrade the database's schema, or print its version."""


@db.command(epilog="Example:  arithctl db upgrade")
def upgrade() -> None:
    """Bring the database to the schema that this version needs; a current one is left as it is."""
    from arith_shared.ledger import schema
    from arith_shared.ledger.database import Database
    from arith_shared.settings import load_settings

    with closing(Database(load_settings().database)) as database:
        click.echo(f"{database.where}: schema {schema.upgrade(database)}")


@db.command(epilog="Example:  arithctl db current")
def current() -> None:
    """Print the database's schema version, and whether it is the one that this version needs."""
    from arith_shared.ledger import schema
    from arith_shared.ledger.database import Database
    from arith_shared.settings import load_settings

    settings = load_settings()
    newest = schema.known_versions()[0]
    if settings.database_url is None and not (settings.home / "arith.db").exists():
        click.echo(
            f"{settings.home / 'arith.db'}: not there yet (made by the first submit; newest schema {newest})"
        )
        return
    with closing(Database(settings.database)) as database:
        version = schema.current_version(database)
        note = "current" if version == newest else f"this arithctl needs {newest}: run `arithctl db upgrade`"
        click.echo(f"{database.where}: schema {version or 'none'} ({note})")
