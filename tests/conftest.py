"""Fixtures that every test may use: a state folder of its own, a database server, and a clean environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.needs import cannot
from harness.postgres import Postgres, programs


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in [name for name in os.environ if name.startswith("ARITH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    # A tokenizer that is trained by several threads is not the same every time.
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder with nothing configured; yields where the embedded state will lie."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".arith"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this test session's own."""
    found = programs()
    if found is None:
        cannot("PostgreSQL is not installed (apt-get install postgresql)")
    server = Postgres(found)
    yield server
    server.close()
