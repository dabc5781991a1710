"""Database and artifacts from a command: right schema, closed at the end, nothing created by a mere question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import click

from arith_shared.errors import RunNotFoundError
from arith_shared.ledger import schema
from arith_shared.ledger.database import Database
from arith_shared.settings import Settings
from arith_shared.store.artifacts import ArtifactStore


@contextmanager
def open_database(settings: Settings, *, create: bool = False) -> Iterator[Database]:
    """The configured database with the current schema.

    With `create`, an embedded database is made or upgraded. Without it, RunNotFoundError is raised where there
    is none yet, so that asking a question leaves no files behind. Whoever comes with the default password is told.
    """
    if settings.database_url is None and not create and not (settings.home / "arith.db").exists():
        raise RunNotFoundError(
            f"there are no runs yet in {settings.home.absolute()}; start one with `arithctl submit RECIPE`, "
            "or point ARITH_HOME or ARITH_DATABASE_URL at where they are"
        )
    warn_of_default_passwords(settings)
    database = Database(settings.database)
    try:
        schema.require_current(database, create=create and settings.database_url is None)
        yield database
    finally:
        database.close()


def open_store(settings: Settings) -> ArtifactStore:
    """The artifacts; those of a bucket are kept below the home folder while they are read."""
    return ArtifactStore(settings.artifact_root, cache=settings.home / "cache")


def warn_of_default_passwords(settings: Settings) -> None:
    """Say once on the screen what a password opens that everybody can read."""
    if settings.insecure:
        _warn(settings.insecure)


@cache
def _warn(text: str) -> None:
    """Print a warning, once."""
    click.echo(f"warning: {text}", err=True)
