"""The embedded engine with everything real but the work: a state folder, and the commands that work on it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.orm import Session

from arith_shared.ledger import runs, views, workers
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import RUN_OVER
from arith_shared.ledger.views import RunView
from arith_shared.settings import Settings
from arith_shared.testing import FAULTS
from arithctl.submission import new_run
from harness.deployment import spec_of_seed
from harness.processes import descendants, is_alive, until

#: A worker module as the services have them, with work that takes milliseconds.
WORKER = """
from arith_shared.job import worker_app
STAGES = ("train", "extract", "probe", "summarize")
app = worker_app("{queue}", "fake_{queue}", dict.fromkeys(STAGES, "arith_shared.testing:fake_handler"))
"""
#: The command line with those modules in place of the services'.
COMMAND = """
import sys
from arithctl.embedded import workers
from arithctl.main import main
workers.MODULES.update({queue: f"fake_{queue}" for queue in workers.MODULES})
if __name__ == "__main__":
    main(sys.argv[1:], prog_name="arithctl")
"""
#: An engine without a run of its own; ends with its standard input.
HOST = """
import sys
import fake_arithctl
from arith_shared.settings import load_settings
from arithctl.connection import open_database
from arithctl.embedded import Engine
settings = load_settings()
with open_database(settings, create=True) as database, Engine(settings, database) as engine:
    engine.ensure_started()
    print("started", flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Home:
    """A state folder, and the commands that work on it."""

    folder: Path

    @classmethod
    def new(cls, folder: Path) -> Home:
        """In a folder that exists and is empty."""
        home = cls(folder)
        for queue in ("train", "extract", "probe"):
            (folder / f"fake_{queue}.py").write_text(WORKER.format(queue=queue))
        (folder / "fake_arithctl.py").write_text(COMMAND)
        (folder / "host.py").write_text(HOST)
        home.break_units({})
        return home

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "ARITH_HOME": str(self.folder / ".arith"),
            "ARITH_LEASE_S": "3",
            "ARITH_HEARTBEAT_S": "0.5",
            "ARITH_TICK_S": "0.5",
            "ARITH_RETRY_S": "0.1",
            FAULTS: str(self.folder / "faults.json"),
        }

    @property
    def settings(self) -> Settings:
        return Settings(home=self.folder / ".arith")

    def break_units(self, faults: Mapping[str, Mapping[str, Any]]) -> None:
        (self.folder / "new").write_text(json.dumps(faults))
        (self.folder / "new").replace(self.folder / "faults.json")

    def recipe(self, seed: int) -> str:
        """The same as a file."""
        path = self.folder / "fake.yaml"
        path.write_text(yaml.safe_dump(spec_of_seed(seed).model_dump(mode="json")))
        return str(path)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "fake_arithctl", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.env, capture_output=True, text=True
        )

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a process beside the test, and end it and all its children with the block."""
        with (self.folder / f"{len(list(self.folder.glob('*.log')))}.log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, text=True,
            )  # fmt: skip
        children: set[int] = set()
        try:
            yield process
            process.communicate(timeout=120)  # a worker has 30 s to hand its unit back
        finally:
            children |= descendants(process.pid)
            process.kill()
            process.communicate()
            for child in filter(is_alive, children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        with contextlib.closing(Database(self.settings.database)) as database, database.reading() as session:
            yield session

    def view(self, run: str = "last") -> RunView:
        with self.reading() as session:
            return views.run_view(session, runs.find(session, run).id)

    def events(self, run: str) -> list[str]:
        with self.reading() as session:
            return [event.kind for event in views.events(session, run)]

    def scores(self, run: str) -> list[dict[str, Any]]:
        with self.reading() as session:
            rows = views.table(session, run, "scores")
        return [{name: value for name, value in row.items() if name != "run"} for row in rows]

    def trainer(self) -> int:
        """Process id of the trainer that reported itself last."""
        with self.reading() as session:
            return [worker.pid for worker, *_ in workers.alive(session) if worker.queue == "train"][-1]

    def submit(self, seed: int) -> str:
        """Insert a run for the engine to find; runs with different seeds share no artifact."""
        return new_run(self.settings, spec_of_seed(seed), recipe="fake", name=None)

    def over(self, run: str) -> RunView:
        """The run's view once it is over."""

        def look() -> RunView | None:
            view = self.view(run)
            return view if view.state in RUN_OVER else None

        return until(look)
