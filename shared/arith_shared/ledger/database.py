"""The engine, and the one place where transactions begin and end.

Writers on SQLite take the lock at once (BEGIN IMMEDIATE): a transaction that reads and then writes can
never fail half-way for want of a lock. Readers use WAL snapshots and never wait.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from arith_shared.errors import UnreachableError, UserError

_SQLITE = "sqlite"
#: Databases and drivers that the ledger's SQL is written for.
_DRIVERS = (_SQLITE, "postgresql", "postgresql+psycopg")
#: Seconds that a SQLite writer waits for another one; transactions here take milliseconds.
_SQLITE_BUSY_S = 30


class Database:
    """A database to read from and to change in transactions; safe to share between threads."""

    def __init__(self, url: str) -> None:
        """Connect lazily to `url` (SQLAlchemy form).

        Raises UserError unless it names a database that this code speaks to, and UnreachableError where the
        folder of a SQLite file cannot be made.
        """
        parsed = _parse(url)
        self.is_sqlite = parsed.drivername == _SQLITE
        self.where = parsed.render_as_string(hide_password=True)
        if self.is_sqlite:
            if parsed.database:
                _make_folder(Path(parsed.database).parent)
            self.engine = create_engine(parsed, connect_args={"timeout": _SQLITE_BUSY_S})
            _configure_sqlite(self.engine)
        else:
            self.engine = create_engine(parsed, pool_pre_ping=True, pool_recycle=1800)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end and rolls back on any error."""
        with self._session("IMMEDIATE") as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one snapshot and changes nothing."""
        with self._session("DEFERRED") as session:
            yield session

    @contextmanager
    def _session(self, sqlite_begin: str) -> Iterator[Session]:
        engine = self.engine.execution_options(sqlite_begin=sqlite_begin)
        try:
            with Session(engine, expire_on_commit=False) as session:
                yield session
        except OperationalError as error:
            raise UnreachableError(f"database {self.where}: {_first_line(error)}") from error

    def close(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()


def _parse(url: str) -> URL:
    with contextlib.suppress(ArgumentError):
        parsed = make_url(url)
        if parsed.drivername in _DRIVERS:
            return parsed
    raise UserError(
        f"ARITH_DATABASE_URL is not a database URL that begins with {' or '.join(_DRIVERS)}; "
        "expected e.g. postgresql+psycopg://user:password@host/arith"
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnreachableError(
            f"database folder {folder}: {error}; set ARITH_HOME or ARITH_DATABASE_URL to another place"
        ) from error


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, record: Any) -> None:
        # Leave BEGIN to the listener below: the driver's own would start transactions without the lock.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]
