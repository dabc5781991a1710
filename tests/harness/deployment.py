"""A deployment in small: database, broker, reconciler and Celery workers as processes of their own.

Only the work is fake. All processes have short times (a lease of three seconds) and a restart policy, as
containers have: whoever waits through `until` also starts again what has died.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import select
from sqlalchemy.orm import Session

from arith_shared import queue
from arith_shared.ledger import runs, views
from arith_shared.ledger.clock import now
from arith_shared.ledger.tables import RESULT_TABLES, RUN_OVER, Artifact, Attempt, Unit, Worker
from arith_shared.settings import Settings
from arith_shared.specs import Spec
from arith_shared.store.artifacts import ArtifactStore
from arith_shared.testing import FAULTS, fresh_database, small_spec
from arithctl.submission import new_run
from harness import processes
from harness.processes import Service

#: Long against a heartbeat, short against a test.
TIMES = {"lease_s": 3.0, "heartbeat_s": 0.5, "tick_s": 0.5, "resend_s": 1.0, "retry_s": 0.1}
TESTS = Path(__file__).parents[1]


def spec_of_seed(seed: int) -> Spec:
    """A spec of eleven units; specs of different seeds share no artifact."""
    return small_spec().model_copy(update={"seed": seed})


@dataclass(frozen=True)
class Results:
    """All that a run leaves: result rows by table, digests of artifacts by stage and unit."""

    rows: dict[str, list[dict[str, Any]]]
    digests: dict[str, str]


def results_of(session: Session, run_id: str) -> Results:
    """What a run has left, without its name."""
    rows = {
        name: [
            {column: value for column, value in row.items() if column != "run"}
            for row in views.table(session, run_id, name)
        ]
        for name in RESULT_TABLES
    }
    artifacts = session.execute(
        select(Unit.stage, Unit.key, Artifact.digest)
        .join(Artifact, Artifact.key == Unit.artifact_key)
        .where(Unit.run_id == run_id)
    )
    return Results(rows, {f"{stage}/{key}": digest for stage, key, digest in artifacts})


class Deployment:
    """Processes around one database and one broker, with everything else in `folder`."""

    def __init__(self, folder: Path, broker_url: str, database_url: str | None = None) -> None:
        """Makes the database; starts nothing."""
        self.folder = folder
        (folder / "tmp").mkdir(parents=True)
        self.settings = Settings(
            home=folder,
            broker_url=broker_url,
            database_url=database_url or f"sqlite:///{folder}/arith.db",
            **TIMES,
        )
        self.services: dict[str, Service] = {}
        self.database = fresh_database(self.settings.database)
        self.break_units({})

    def env(self, **more: str) -> dict[str, str]:
        """The environment of every process here; `more` names further variables without their prefix."""
        return {
            **os.environ,
            **{f"ARITH_{name.upper()}": str(seconds) for name, seconds in TIMES.items()},
            "PYTHONPATH": str(TESTS),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.folder / "tmp"),
            "ARITH_HOME": str(self.folder),
            "ARITH_BROKER_URL": self.settings.broker,
            "ARITH_DATABASE_URL": self.settings.database,
            FAULTS: str(self.folder / "faults.json"),
            **{f"ARITH_{name}": value for name, value in more.items()},
        }

    def worker(self, name: str = "worker", *, module: str = "harness.fake_worker", **env: str) -> Service:
        """Start a worker of all queues."""
        arguments = queue.worker_arguments(module, "train,extract,probe", name)
        return self._serve(name, ["-m", "celery", *arguments], env)

    def scheduler(self, name: str = "scheduler", **env: str) -> Service:
        """Start a reconciler."""
        return self._serve(name, ["-m", "harness.fake_scheduler"], env)

    def _serve(self, name: str, arguments: list[str], env: Mapping[str, str]) -> Service:
        command = [sys.executable, *arguments]
        self.services[name] = Service(command, self.env(**env), self.folder / f"{name}.log")
        return self.services[name]

    def break_units(self, faults: Mapping[str, Mapping[str, Any]]) -> None:
        """Say what goes wrong in which unit; `arith_shared.testing` knows the faults."""
        (self.folder / "new").write_text(json.dumps(faults), encoding="utf-8")
        (self.folder / "new").replace(self.folder / "faults.json")

    def submit(self, seed: int) -> str:
        """Start a run."""
        return new_run(self.settings, spec_of_seed(seed), recipe="fake", name=None)

    def insert(self, seed: int) -> str:
        """Start a run, but send nothing."""
        with self.database.transaction() as session:
            return runs.submit(session, spec_of_seed(seed), recipe="fake").id

    def command(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command of arithctl to its end."""
        command = [sys.executable, "-m", "arithctl", *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.env(**env),
            capture_output=True,
            text=True,
            timeout=processes.WITHIN_S,
        )

    def recipe(self, seed: int) -> str:
        """The spec of a seed as a file."""
        path = self.folder / "fake.yaml"
        path.write_text(yaml.safe_dump(spec_of_seed(seed).model_dump(mode="json")), encoding="utf-8")
        return str(path)

    def until(self, happened: Callable[[], Any], within_s: float = processes.WITHIN_S) -> Any:
        """Wait as `processes.until` does, and meanwhile start again what has died."""

        def look() -> Any:
            for service in self.services.values():
                service.tend()
            return happened()

        return processes.until(look, within_s)

    def over(self, run_id: str, within_s: float = processes.WITHIN_S) -> views.RunView:
        """The run's view once it is over."""
        return self.until(lambda: view if (view := self.view(run_id)).state in RUN_OVER else None, within_s)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A look into the database."""
        with self.database.reading() as session:
            yield session

    def view(self, run_id: str) -> views.RunView:
        """The run as `status` shows it."""
        with self.reading() as session:
            return views.run_view(session, run_id)

    def results(self, run_id: str) -> Results:
        """What the run has left."""
        with self.reading() as session:
            return results_of(session, run_id)

    def unit(self, run_id: str, key: str) -> Unit:
        """A unit of the run as it is now."""
        with self.reading() as session:
            return session.scalars(select(Unit).where(Unit.run_id == run_id, Unit.key == key)).one()

    def holder(self, run_id: str, key: str) -> Service:
        """The worker that holds a unit, once one does."""

        def look() -> Service | None:
            unit = self.unit(run_id, key)
            with self.reading() as session:
                pid = session.scalar(select(Worker.pid).where(Worker.id == unit.worker_id))
            by_pid = {service.pid: service for service in self.services.values()}
            return by_pid.get(pid) if unit.state == "running" else None

        return self.until(look)

    def has_silent_units(self) -> bool:
        """Whether a unit's lease has run out and nobody has noticed yet."""
        with self.reading() as session:
            silent = select(Unit.id).where(Unit.state == "running", Unit.lease_until < now())
            return session.scalars(silent).first() is not None

    def outcomes(self, run_id: str, key: str) -> list[str | None]:
        """How the attempts at a unit ended."""
        with self.reading() as session:
            query = select(Attempt.outcome).join(Unit, Unit.id == Attempt.unit_id)
            query = query.where(Unit.run_id == run_id, Unit.key == key)
            return list(session.scalars(query.order_by(Attempt.number)))

    def events(self, run_id: str) -> list[str]:
        """What happened to the run, in order."""
        with self.reading() as session:
            return [event.kind for event in views.events(session, run_id)]

    @property
    def store(self) -> ArtifactStore:
        """The artifacts of all runs."""
        return ArtifactStore(self.settings.artifact_root)

    def close(self) -> None:
        """End every process; raises AssertionError if one is left that nobody knows of."""
        for service in self.services.values():
            service.send(signal.SIGCONT)
            service.stop()
        self.database.close()
        processes.until(lambda: not processes.of_folder(self.folder), within_s=20)
