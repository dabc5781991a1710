"""A deployment in small: database, broker, reconciler and Celery workers as processes of their own.

Only the work is fake. All processes have short times (a lease of three seconds) and a restart policy, as
containers have: whoever waits through `until` also starts again what has died. A deployment may live through
many tests: each takes a seed of its own, so that no run finds artifacts of another.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result
from sqlalchemy import select
from sqlalchemy.orm import Session

from arith_shared import failpoints, queue
from arith_shared.ledger import garbage, runs, views
from arith_shared.ledger.clock import now
from arith_shared.ledger.tables import RESULT_TABLES, RUN_OVER, Artifact, Attempt, Run, Unit, Worker
from arith_shared.settings import Settings
from arith_shared.specs import Spec
from arith_shared.store.artifacts import ArtifactStore
from arith_shared.testing import FAULTS, fresh_database, small_spec
from arithctl.housekeeping import GRACE_S
from arithctl.main import main
from arithctl.submission import new_run
from harness import processes
from harness.processes import Service

#: Long against a heartbeat, short against a test.
TIMES = {"lease_s": 3.0, "heartbeat_s": 0.5, "tick_s": 0.5, "resend_s": 1.0, "retry_s": 0.1}
TESTS = Path(__file__).parents[1]
#: Folders of an artifact root in which nothing may remain of a run that is done.
TEMPORARY = ("tmp", "scratch")


def spec_of_seed(seed: int, **groups: Mapping[str, Any]) -> Spec:
    """A spec of eleven units, unless `groups` of fields say other; specs of different seeds share no artifact."""
    return small_spec(**groups).model_copy(update={"seed": seed})


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

    def __init__(
        self,
        folder: Path,
        broker_url: str,
        *,
        database_url: str | None = None,
        artifacts: Path | None = None,
        **times: float,
    ) -> None:
        """Makes the database; starts nothing. `times` replace some of `TIMES`."""
        self.folder = folder
        (folder / "tmp").mkdir(parents=True)
        self._times = TIMES | times
        self.settings = Settings(
            home=folder,
            broker_url=broker_url,
            database_url=database_url or f"sqlite:///{folder}/arith.db",
            artifacts=str(artifacts or folder / "artifacts"),
            **self._times,
        )
        self.services: dict[str, Service] = {}
        self.database = fresh_database(self.settings.database)
        self._seeds = itertools.count(1)
        self.break_units({})

    def env(self, **more: str) -> dict[str, str]:
        """The environment of every process here; `more` names further variables without their prefix."""
        return {
            **os.environ,
            **{f"ARITH_{name.upper()}": str(seconds) for name, seconds in self._times.items()},
            "PYTHONPATH": str(TESTS),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.folder / "tmp"),
            "ARITH_HOME": str(self.folder),
            "ARITH_BROKER_URL": self.settings.broker,
            "ARITH_DATABASE_URL": self.settings.database,
            "ARITH_ARTIFACTS": self.settings.artifact_root,
            failpoints.VARIABLE: f"@{self.failpoint}",
            FAULTS: str(self.folder / "faults.json"),
            **{f"ARITH_{name}": value for name, value in more.items()},
        }

    def worker(self, name: str = "worker", module: str = "harness.fake_worker", **env: str) -> Service:
        """Start a worker of all queues."""
        arguments = queue.worker_arguments(module, "train,extract,probe", name)
        return self._serve(name, ["-m", "celery", *arguments], env)

    def scheduler(self, name: str = "scheduler", **env: str) -> Service:
        """Start a reconciler."""
        return self._serve(name, ["-m", "celery", *queue.SCHEDULER_ARGUMENTS], env)

    def exporter(self, port: int) -> Service:
        """Start a process that exposes the ledger's metrics."""
        return self._serve("exporter", ["-m", "arith_shared.metrics"], {"METRICS_PORT": str(port)})

    def _serve(self, name: str, arguments: list[str], env: Mapping[str, str]) -> Service:
        command = [sys.executable, *arguments]
        self.services[name] = Service(command, self.env(**env), self.folder / f"{name}.log")
        return self.services[name]

    def break_units(self, faults: Mapping[str, Mapping[str, Any]]) -> None:
        """Say what goes wrong in which unit; `arith_shared.testing` knows the faults."""
        (self.folder / "new").write_text(json.dumps(faults), encoding="utf-8")
        (self.folder / "new").replace(self.folder / "faults.json")

    @property
    def failpoint(self) -> Path:
        """Where the failpoint stands that the next process to get there fails at; gone once one has."""
        return self.folder / "failpoint"

    def fail_at(self, name: str, action: str) -> None:
        """Let the first process that reaches a failpoint fail there."""
        (self.folder / "new").write_text(f"{name}:{action}", encoding="utf-8")
        (self.folder / "new").replace(self.failpoint)

    def submit(self, **groups: Mapping[str, Any]) -> str:
        """Start a run with the next seed; `groups` override fields of the spec."""
        spec = spec_of_seed(next(self._seeds), **groups)
        return new_run(self.settings, spec, recipe="fake", name=None)

    def insert(self) -> str:
        """Start a run with the next seed, but send nothing."""
        with self.database.transaction() as session:
            return runs.submit(session, spec_of_seed(next(self._seeds)), recipe="fake").id

    def recipe(self) -> str:
        """The spec of the next seed as a file."""
        path = self.folder / "fake.yaml"
        spec = spec_of_seed(next(self._seeds))
        path.write_text(yaml.safe_dump(spec.model_dump(mode="json")), encoding="utf-8")
        return str(path)

    def cli(self, *arguments: str) -> Result:
        """Run a command of arithctl in this process."""
        env: dict[str, str | None] = {
            name: value for name, value in self.env().items() if name.startswith("ARITH_")
        }
        # This process is the test itself: no failpoint is meant for it.
        env[failpoints.VARIABLE] = None
        return CliRunner().invoke(main, arguments, env=env, catch_exceptions=False)

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
        found = self._unit(run_id, key)
        assert found is not None, f"{key} is not planned yet"
        return found

    def state(self, run_id: str, key: str) -> str | None:
        """The state of a unit, once it is planned."""
        found = self._unit(run_id, key)
        return found and found.state

    def _unit(self, run_id: str, key: str) -> Unit | None:
        with self.reading() as session:
            return session.scalar(select(Unit).where(Unit.run_id == run_id, Unit.key == key))

    def holder(self, run_id: str, key: str) -> Service:
        """The worker that holds a unit, once one does."""

        def look() -> Service | None:
            unit = self._unit(run_id, key)
            if unit is None or unit.state != "running":
                return None
            with self.reading() as session:
                pid = session.scalar(select(Worker.pid).where(Worker.id == unit.worker_id))
            return {service.pid: service for service in self.services.values()}.get(pid)

        return self.until(look)

    def is_idle(self) -> bool:
        """Whether all runs are over."""
        with self.reading() as session:
            return session.scalar(select(Run.id).where(Run.state.not_in(RUN_OVER)).limit(1)) is None

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

    def spec(self, run_id: str) -> Spec:
        """The spec of a run."""
        with self.reading() as session:
            return Spec.model_validate(runs.find(session, run_id).spec)

    @property
    def store(self) -> ArtifactStore:
        """The artifacts of all runs."""
        return ArtifactStore(self.settings.artifact_root)

    def collect_garbage(self) -> set[str]:
        """Let `arithctl gc` find all files old, and see that it leaves what rows name; returns what it removed.

        Waits until all runs are over: of a run in work there are temporary files.
        """
        self.until(self.is_idle)
        before, old = self._files(), time.time() - 2 * GRACE_S
        for folder, _, names in os.walk(self.store.folder):
            for name in (*names, "."):
                # A worker removes its checkpoints after it has recorded that the unit is done.
                with suppress(FileNotFoundError):
                    os.utime(Path(folder, name), (old, old))
        ran = self.cli("gc")
        assert (ran.exit_code, ran.exception) == (0, None), ran.output
        with self.reading() as session:
            assert set(self.store.paths()) == garbage.named_paths(session)
        assert [path for name in TEMPORARY for path in (self.store.folder / name).glob("*")] == []
        return before - self._files()

    def _files(self) -> set[str]:
        root = self.store.folder
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def close(self) -> None:
        """End every process; raises AssertionError if one is left that nobody knows of."""
        for service in self.services.values():
            service.send(signal.SIGCONT)
            service.stop()
        self.database.close()
        processes.until(lambda: not processes.of_folder(self.folder), within_s=20)
