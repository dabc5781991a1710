"""The databases of the contract suite: SQLite always, PostgreSQL from Debian's package where it is installed.

A missing PostgreSQL skips a local run and fails in CI, so that green never means skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from arith_shared.ledger.database import Database
from arith_shared.testing import fresh_database


def _postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _as_server_user(*command: str) -> list[str]:
    # The server refuses to run as root.
    return ["runuser", "-u", "postgres", "--", *command] if os.getuid() == 0 else list(command)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of this test session's own, on a unix socket in a private folder."""
    programs = _postgres_programs()
    if programs is None:
        message = "PostgreSQL is not installed (apt-get install postgresql)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = Path(tempfile.mkdtemp(prefix="arith-pg-"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    control = str(programs / "pg_ctl")
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "arith", "-A", "trust", "--no-sync"]
    subprocess.run(_as_server_user(*initdb), **quiet)
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    start = [control, "-D", str(data), "-o", options, "-w", "-l", str(folder / "log"), "start"]
    subprocess.run(_as_server_user(*start), **quiet)
    try:
        yield f"postgresql+psycopg://arith@/{{name}}?host={folder}"
    finally:
        subprocess.run(_as_server_user(control, "-D", str(data), "-m", "immediate", "stop"), **quiet)
        shutil.rmtree(folder, ignore_errors=True)


def _new_postgres_database(url: str) -> str:
    name = f"t{uuid.uuid4().hex[:12]}"
    host = url.split("host=")[1]
    with psycopg.connect(f"dbname=postgres user=arith host={host}", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.format(name=name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty ledger on each kind of database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'arith.db'}"
    else:
        url = _new_postgres_database(request.getfixturevalue("postgres_url"))
    ledger = fresh_database(url)
    yield ledger
    ledger.close()
