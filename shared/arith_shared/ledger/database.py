"""The engine, and the one place where transactions begin and end.

Writers on SQLite take the lock at once (BEGIN IMMEDIATE): a transaction that reads and then writes can
never fail half-way for want of a lock. Readers use WAL snapshots and never wait.

Who only looks on opens the database read-only: then the database itself refuses every change.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from arith_shared.errors import UnreachableError, UserError

_SQLITE = "sqlite"
#: Databases and drivers that the ledger's SQL is written for.
_DRIVERS = (_SQLITE, "postgresql", "postgresql+psycopg")
#: Seconds that a SQLite writer waits for another one; transactions here take milliseconds.
_SQLITE_BUSY_S = 30
#: Seconds that PostgreSQL lets a writer be silent inside its transaction. A worker that hangs or has lost its
#: network would otherwise keep the rows that it has locked from all others for as long as its connection lasts.
_SILENT_WRITER_S = 15
#: PostgreSQL connections give up a server from which nothing comes any more, after about 25 s; URLs may say other.
_POSTGRES: dict[str, str | int] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds, the others seconds
}
#: What refuses writes: SQLite opens the file so, PostgreSQL makes every transaction of the session so.
_SQLITE_READ_ONLY = {"mode": "ro", "uri": "true"}
_POSTGRES_READ_ONLY = "-c default_transaction_read_only=on"


class Database:
    """A database to read from and to change in transactions; safe to share between threads."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        """Connect lazily to `url` (SQLAlchemy form); with `read_only` nothing is created and no write is possible.

        Raises UserError unless it names a database that this code speaks to, and UnreachableError where the
        folder of a SQLite file cannot be made.
        """
        parsed = _parse(url)
        self.is_sqlite = parsed.drivername == _SQLITE
        self.where = parsed.render_as_string(hide_password=True)
        if self.is_sqlite:
            if parsed.database and read_only:
                parsed = parsed.set(database=f"file:{quote(parsed.database)}", query=_SQLITE_READ_ONLY)
            elif parsed.database:
                _make_folder(Path(parsed.database).parent)
            self.engine = create_engine(parsed, connect_args={"timeout": _SQLITE_BUSY_S})
            _configure_sqlite(self.engine, read_only)
        else:
            arguments = {name: value for name, value in _POSTGRES.items() if name not in parsed.query}
            if read_only:
                arguments["options"] = f"{parsed.query.get('options', '')} {_POSTGRES_READ_ONLY}".strip()
            self.engine = create_engine(parsed, connect_args=arguments, pool_pre_ping=True, pool_recycle=1800)
            _configure_postgres(self.engine)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end and rolls back on any error."""
        with self._session(writes=True) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one snapshot and changes nothing."""
        with self._session(writes=False) as session:
            yield session

    @contextmanager
    def _session(self, *, writes: bool) -> Iterator[Session]:
        engine = self.engine.execution_options(writes=writes)
        try:
            with Session(engine, expire_on_commit=False) as session:
                yield session
        except DBAPIError as error:
            if not (isinstance(error, OperationalError) or error.connection_invalidated):
                raise
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


def _configure_sqlite(engine: Engine, read_only: bool) -> None:
    # The journal's mode is a property of the file that only a writer can set.
    settings = (
        ("query_only=ON",) if read_only else ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON")
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, record: Any) -> None:
        # Leave BEGIN to the listener below: the driver's own would start transactions without the lock.
        connection.isolation_level = None
        for pragma in settings:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN DEFERRED")


def _configure_postgres(engine: Engine) -> None:
    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        if _writes(connection):
            connection.exec_driver_sql(
                f"SET LOCAL idle_in_transaction_session_timeout = '{_SILENT_WRITER_S}s'"
            )


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writes", True))


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]
