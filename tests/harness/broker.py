"""A broker that can be killed, filled up and started again, with or without a memory of what it held."""

from __future__ import annotations

import subprocess
from pathlib import Path

import redis

from arithctl.embedded.broker import find_server
from harness.processes import until


class Broker:
    """A Redis or Valkey on a unix socket in `folder`; it forgets everything when it ends, unless told to keep it."""

    def __init__(self, folder: Path) -> None:
        """Starts it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.socket = folder, folder / "b.sock"
        self._keeps = False
        self.client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5)
        self.start()

    @property
    def url(self) -> str:
        """What to put into ARITH_BROKER_URL."""
        return f"redis+socket://{self.socket}"

    def start(self) -> None:
        """Start and wait for the first answer."""
        options = {
            "--port": "0", "--unixsocket": str(self.socket), "--dir": str(self.folder), "--save": "",
            "--appendonly": "yes" if self._keeps else "no",
        }  # fmt: skip
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [find_server(), *(part for option in options.items() for part in option)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._answers)

    def keep(self, keeps: bool) -> None:
        """Whether, from now on, it writes every change to a log, and reads the log when it starts."""
        self._keeps = keeps
        self.client.config_set("appendonly", "yes" if keeps else "no")
        until(lambda: not self.client.info("persistence")["aof_rewrite_in_progress"])

    def kill(self) -> None:
        """End it with SIGKILL; does nothing if it has ended."""
        self._process.kill()
        self._process.wait()
        self.client.close()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False
