"""Servers of a bench's own: PostgreSQL from Debian's package, and a broker; nothing that they hold survives."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from arithctl.embedded import broker, processes


def programs() -> Path | None:
    """Where the newest installed PostgreSQL server's programs are, if there is one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class Postgres:
    """A PostgreSQL server in a private folder, on a unix socket and, with `listen`, on an address too."""

    def __init__(self, programs: Path, listen: str = "") -> None:
        """Make a cluster and start it; over the network only the password opens it."""
        self._programs, self._listen = programs, listen
        self.folder = Path(tempfile.mkdtemp(prefix="arith-pg-"))
        self.password = uuid.uuid4().hex
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._data = str(self.folder / "data")
        self._run("initdb", "-D", self._data, "-U", "arith", "-A", "trust", "--no-sync")
        if listen:
            rule = f"local all all trust\nhost all all {listen}/24 scram-sha-256\n"
            (self.folder / "data" / "pg_hba.conf").write_text(rule, encoding="utf-8")
        self.start()
        with self._connect() as connection:
            connection.execute(f"ALTER ROLE arith PASSWORD '{self.password}'")

    @property
    def socket(self) -> Path:
        """The socket that it listens on."""
        return self.folder / ".s.PGSQL.5432"

    def start(self) -> None:
        """Start and wait until it answers; does nothing if it runs."""
        if (self.folder / "data" / "postmaster.pid").exists():
            return
        options = (
            f"-c listen_addresses='{self._listen}' -c unix_socket_directories={self.folder} -c fsync=off"
        )
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
        """The URL of an empty database, through the socket or, where it listens, through the network."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with self._connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        if self._listen:
            return f"postgresql+psycopg://arith:{self.password}@{self._listen}/{name}"
        return f"postgresql+psycopg://arith@/{name}?host={self.folder}"

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(f"dbname=postgres user=arith host={self.folder}", autocommit=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        # The server refuses to run as root.
        as_server = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        subprocess.run(
            [*as_server, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


@contextmanager
def postgres(listen: str = "") -> Iterator[Postgres | None]:
    """A server for the length of a block; None where none is installed."""
    where = programs()
    server = Postgres(where, listen) if where is not None else None
    try:
        yield server
    finally:
        if server is not None:
            server.close()


@contextmanager
def private_broker(folder: Path) -> Iterator[str]:
    """The URL of a broker for the length of a block, on a socket in `folder`: the embedded mode's."""
    socket = folder / "broker.sock"
    process = broker.start(socket, folder / "broker.log")
    try:
        yield f"redis+socket://{socket}"
    finally:
        processes.stop(process, 5.0)


@contextmanager
def network_broker(folder: Path, address: str) -> Iterator[str]:
    """The URL of a broker for the length of a block, at an address and behind a password."""
    password = uuid.uuid4().hex
    options = {
        "--bind": address,
        "--port": "6379",
        "--requirepass": password,
        "--save": "",
        "--dir": str(folder),
    }
    command = [broker.find_server(), *(part for option in options.items() for part in option)]
    process = processes.start(command, folder / "broker.log")
    try:
        _until_it_listens(address, 6379)
        yield f"redis://:{password}@{address}:6379/0"
    finally:
        processes.stop(process, 5.0)


def _until_it_listens(address: str, port: int) -> None:
    give_up = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
