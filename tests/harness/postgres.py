"""A PostgreSQL server of the tests' own, from Debian's package, that can be stopped and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg


def programs() -> Path | None:
    """Where the newest installed server's programs are, if there is one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class Postgres:
    """A server on a unix socket in a private folder; nothing it holds survives `close`."""

    def __init__(self, programs: Path) -> None:
        """Make a cluster and start it."""
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="arith-pg-"))
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._data = str(self.folder / "data")
        self._run("initdb", "-D", self._data, "-U", "arith", "-A", "trust", "--no-sync")
        self.start()

    @property
    def socket(self) -> Path:
        """The socket that it listens on."""
        return self.folder / ".s.PGSQL.5432"

    def start(self) -> None:
        """Start and wait until it answers; does nothing if it runs."""
        if (self.folder / "data" / "postmaster.pid").exists():
            return
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self._data, "-o", options, "-w", "-l", log, "start")

    def stop(self) -> None:
        """End it at once, as a crash would: connections break, the next start recovers from the log."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    def close(self) -> None:
        """Stop it and remove all it has written."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(f"dbname=postgres user=arith host={self.folder}", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://arith@/{name}?host={self.folder}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        # The server refuses to run as root.
        as_server = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        subprocess.run(
            [*as_server, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
