"""The databases of the contract suite: SQLite always, PostgreSQL where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arith_shared.ledger.database import Database
from arith_shared.testing import fresh_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty ledger on each kind of database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'arith.db'}"
    else:
        url = request.getfixturevalue("postgres").new_database()
    ledger = fresh_database(url)
    yield ledger
    ledger.close()
