"""Everything on one machine with nothing configured: broker, workers and reconciler below one process.

One process at a time may be the engine of a state folder; a lock file decides, and ends with its holder. State
survives: whoever becomes the engine next carries on with what was interrupted.
"""

from __future__ import annotations

import fcntl
import logging
import threading
from contextlib import ExitStack
from types import TracebackType

from arith_shared import queue
from arith_shared.compute import usable_cores
from arith_shared.ledger import reconcile, views
from arith_shared.ledger.database import Database
from arith_shared.settings import Settings
from arithctl.embedded import broker, processes
from arithctl.embedded.workers import Workers, slots

log = logging.getLogger(__name__)


class Engine:
    """Context manager that runs what the services and the scheduler of a full deployment run."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """Nothing starts before the block is entered."""
        self._settings, self._database = settings, database
        self._stopping = threading.Event()
        self._stack = ExitStack()
        self._started = self._elsewhere = False
        self.workers = Workers(settings, slots(usable_cores()))

    def ensure_started(self) -> None:
        """Start everything if nobody has; does nothing while another process is the engine of this folder."""
        if self._started:
            return
        self._settings.home.mkdir(parents=True, exist_ok=True)
        lock = self._stack.enter_context((self._settings.home / "engine.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stack.close()
            self._elsewhere = True
            return
        self._started, self._elsewhere = True, False
        server = broker.start(self._settings.broker_socket, self._settings.home / "logs" / "broker.log")
        self._stack.callback(processes.stop, server, 5.0)
        with self._database.reading() as session:
            wanted = views.queues_with_work(session)
        self.workers.start(wanted)
        self._stack.callback(self.workers.stop)
        ticker = threading.Thread(target=self._tick_until_stopped, name="reconciler", daemon=True)
        ticker.start()
        self._stack.callback(ticker.join)
        self._stack.callback(self._stopping.set)

    @property
    def is_elsewhere(self) -> bool:
        """Whether another process was the engine of this folder when this one last tried to start."""
        return self._elsewhere

    def stop_soon(self) -> None:
        """Let everything begin to end, while the block still has something else to do."""
        self._stopping.set()
        self.workers.stop_soon()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _tick_until_stopped(self) -> None:
        sender = queue.Sender(self._settings.broker)
        times = {"resend_s": self._settings.resend_s, "retry_s": self._settings.retry_s}
        while not self._stopping.is_set():
            try:
                reconcile.tick(self._database, sender, **times)
            except Exception:
                log.exception("reconciler")
            self._stopping.wait(self._settings.tick_s)
        sender.close()
