"""A deployment on which everything may break, and a nurse who puts right what a machine room would.

Workers and reconcilers reach the broker, and PostgreSQL, through proxies; this process reaches them directly. The
nurse is a thread: she starts again what has died, wakes what was stopped, and ends outages when their time is over.
"""

from __future__ import annotations

import contextlib
import heapq
import shutil
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import make_url

from harness import processes
from harness.broker import Broker
from harness.deployment import Deployment
from harness.postgres import Postgres
from harness.processes import Service
from harness.proxy import Proxy
from soak.parts import Part

WORKERS = ("worker-1", "worker-2")
SCHEDULERS = ("scheduler-1", "scheduler-2")


class World:
    """Context manager: database, broker, proxies, two workers and a reconciler, all in `folder`."""

    def __init__(self, folder: Path, part: Part, postgres: Postgres | None) -> None:
        """On PostgreSQL, or on SQLite if there is none; starts nothing."""
        self.folder, self.part, self.postgres = folder, part, postgres
        self._ended_services: list[Service] = []
        #: Seconds after which a stopped process is continued: its unit has been given to somebody else by then.
        self.thaw_s = part.lease_s + 2.0
        #: Faults that really happened, by kind.
        self.faults: Counter[str] = Counter()
        #: Things that are broken at present, so that no two faults break the same one.
        self.broken: set[str] = set()
        #: Set when no more faults are wanted.
        self.at_peace = threading.Event()
        #: Held while processes are replaced or broken.
        self.lock = threading.RLock()
        self._failpoint = ""
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._stopped_at: dict[int, float] = {}
        self._is_over = threading.Event()
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> World:
        with contextlib.ExitStack() as starting:
            enter, later = starting.enter_context, starting.callback
            self.broker = Broker(self.folder / "broker")
            later(self.broker.kill)
            self.broker.keep(True)
            self.broker_proxy = enter(Proxy(self.broker.socket))
            url = None
            self._database = {}
            if self.postgres is not None:
                url = self.postgres.new_database()
                self.database_proxy = enter(Proxy(self.postgres.socket))
                proxied = make_url(url).set(host="127.0.0.1", port=self.database_proxy.port, query={})
                self._database = {"DATABASE_URL": proxied.render_as_string(hide_password=False)}
            self.deployment = Deployment(
                self.folder / "home", self.broker.url, database_url=url, lease_s=self.part.lease_s
            )
            later(self.deployment.close)
            for name in WORKERS:
                self.start(name)
            self.start(SCHEDULERS[0])
            self._nurse = threading.Thread(target=self._tend, name="nurse", daemon=True)
            self._nurse.start()
            later(self._end)
            self._resources = starting.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._resources.close()

    def _end(self) -> None:
        self._is_over.set()
        self._nurse.join()

    def start(self, name: str, **env: str) -> None:
        """Start a worker or a reconciler, in place of the one of that name."""
        with self.lock:
            self.end(name)
            env |= {"BROKER_URL": f"redis://127.0.0.1:{self.broker_proxy.port}/0", **self._database}
            if name in WORKERS:
                self.deployment.worker(name, module=self.part.module, **env)
            else:
                self.deployment.scheduler(name, **env)

    def end(self, name: str) -> None:
        """End a worker or a reconciler for good, with all its processes."""
        with self.lock:
            service = self.deployment.services.pop(name, None)
            if service is not None:
                service.stop()
                self._ended_services.append(service)

    def note(self, what: str) -> None:
        """Write down what happens, for whoever looks into a soak that went wrong."""
        with (self.folder / "faults.log").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {what}\n")

    def fail_at(self, name: str, action: str) -> bool:
        """Let the first process that gets to a failpoint fail there; False if another is still waiting for one."""
        if self._waits():
            return False
        self.deployment.fail_at(name, action)
        self._failpoint = f"failpoint {name}:{action}"
        return True

    def _waits(self) -> bool:
        """Whether a failpoint has not been reached yet; one that has counts from now on."""
        if self.deployment.failpoint.exists():
            return True
        if self._failpoint:
            self.faults[self._failpoint] += 1
            self.note(f"{self._failpoint} reached")
            self._failpoint = ""
        return False

    @contextlib.contextmanager
    def breaking(self, what: str) -> Iterator[Callable[[float, Callable[[], None]], None]]:
        """Something is broken from now until it is mended: yields `mend(after_s, how)`."""
        self.broken.add(what)

        def mend(after_s: float, how: Callable[[], None]) -> None:
            def mended() -> None:
                how()
                self.note(f"{what} mended")
                self.broken.discard(what)

            with self.lock:
                heapq.heappush(self._due, (time.monotonic() + after_s, id(mended), mended))

        yield mend

    def calm(self) -> None:
        """Wait until all outages are over and nobody is stopped; from then on all processes are plain ones."""
        processes.until(lambda: not self._due and not self._stopped())
        with self.lock:
            self._waits()
            self.deployment.failpoint.unlink(missing_ok=True)
        for name in (*WORKERS, SCHEDULERS[0]):
            self.start(name)
        self.end(SCHEDULERS[1])

    def _tend(self) -> None:
        while not self._is_over.wait(0.2):
            with self.lock:
                for service in self.deployment.services.values():
                    service.tend()
                self._thaw()
                self._waits()
                while self._due and self._due[0][0] <= time.monotonic():
                    heapq.heappop(self._due)[2]()

    def _thaw(self) -> None:
        stopped = self._stopped()
        clock = time.monotonic()
        self._stopped_at = {pid: self._stopped_at.get(pid, clock) for pid in stopped}
        for pid, since in self._stopped_at.items():
            if clock > since + self.thaw_s:
                processes.send(signal.SIGCONT, pid)

    def _stopped(self) -> set[int]:
        with self.lock:
            leaders = {service.pid for service in self.deployment.services.values()}
        family = leaders.union(*(processes.descendants(pid) for pid in leaders))
        return set(filter(processes.is_stopped, family))

    # What can be broken besides processes

    def restart_broker(self, *, empty: bool) -> None:
        """Start a killed broker, with what its log says or without."""
        if empty:
            shutil.rmtree(self.broker.folder / "appendonlydir", ignore_errors=True)
        self.broker.start()

    def lock_sqlite(self, seconds: float) -> bool:
        """Keep all writers waiting; False if somebody else does so just now."""
        path = self.deployment.folder / "arith.db"
        connection = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            connection.close()
            return False
        with self.breaking("database") as mend:
            mend(seconds, connection.close)
        return True

    @property
    def processes_started(self) -> int:
        """How often a worker or a reconciler was started."""
        services = [*self._ended_services, *self.deployment.services.values()]
        return sum(service.starts for service in services)

    def count_in_logs(self, text: str) -> int:
        """How often the workers have logged something."""
        logs = (self.deployment.folder / f"{name}.log" for name in WORKERS)
        return sum(path.read_text(encoding="utf-8", errors="replace").count(text) for path in logs)
