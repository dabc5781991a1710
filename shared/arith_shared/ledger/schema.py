"""The database's schema version: what it is, what this code knows, and how to get from one to the other."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from arith_shared.errors import LedgerVersionError
from arith_shared.ledger.database import Database

_MIGRATIONS = Path(__file__).parent / "migrations"


def known_versions() -> list[str]:
    """Schema versions that this code knows, newest first."""
    return [revision.revision for revision in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()]


def current_version(database: Database) -> str | None:
    """The version that the database has; None if it is empty."""
    with database.reading() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def upgrade(database: Database) -> str:
    """Bring the database to the newest known version in one transaction; raise LedgerVersionError if it is newer."""
    _refuse_newer(database, current_version(database))
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with database.transaction() as session:
        config.attributes["connection"] = session.connection()
        command.upgrade(config, "head")
    return known_versions()[0]


def require_current(database: Database, *, create: bool) -> None:
    """Make sure that the schema is the known one; with `create` an empty or older database is upgraded.

    Raises LedgerVersionError saying which version was found and what to do.
    """
    version, newest = current_version(database), known_versions()[0]
    if version == newest:
        return
    _refuse_newer(database, version)
    if not create:
        found = f"has schema {version}" if version else "is empty"
        raise LedgerVersionError(
            f"database {database.where} {found}, this arithctl needs {newest}: run `arithctl db upgrade`"
        )
    upgrade(database)


def _refuse_newer(database: Database, version: str | None) -> None:
    if version is not None and version not in known_versions():
        raise LedgerVersionError(
            f"database {database.where} has schema {version}, which is newer than this arithctl "
            f"(it knows {known_versions()[0]}): install the version that wrote it, or name another database"
        )
