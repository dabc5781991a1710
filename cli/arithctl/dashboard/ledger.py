"""Looking into the database, and never more than that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from arith_shared.errors import RunNotFoundError
from arith_shared.ledger import schema
from arith_shared.ledger.database import Database
from arith_shared.settings import Settings


class Ledger:
    """The configured database, opened so that it refuses writes; an embedded one may come into being later."""

    def __init__(self, settings: Settings) -> None:
        """Opens nothing yet."""
        self.settings = settings
        self.database = Database(settings.database, read_only=True)
        self._checked = False

    @property
    def exists(self) -> bool:
        """Whether there is a database: the embedded one comes with the first run."""
        return self.settings.database_url is not None or (self.settings.home / "arith.db").exists()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one snapshot.

        Raises RunNotFoundError before the first run, UnreachableError, and LedgerVersionError for a schema that this
        code does not know.
        """
        if not self.exists:
            raise RunNotFoundError("there are no runs yet; start one with `arithctl submit RECIPE`")
        if not self._checked:
            schema.require_current(self.database, create=False)
            self._checked = True
        with self.database.reading() as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
