"""The embedded engine with everything real but the work: broker, Celery workers, processes and signals.

The handlers are fakes that take milliseconds, so what is put to the test is who starts, delivers, counts,
dies and takes over. A host process is the engine, as `submit --wait` is, and the tests kill parts of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.orm import Session

from arith_shared.ledger import runs, views, workers
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import RUN_OVER
from arith_shared.ledger.views import RunView
from arith_shared.settings import Settings
from arith_shared.specs import Spec
from arith_shared.testing import FAULTS, small_spec
from arithctl.submission import new_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

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
#: Seconds; a run of the small spec takes about three on a quiet core.
OVER_WITHIN_S = 120.0


def until(happened: Callable[[], Any], within_s: float = OVER_WITHIN_S) -> Any:
    """Wait for something that other processes bring about, and return it."""
    give_up = time.monotonic() + within_s
    while not (found := happened()):
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.05)
    return found


def descendants(pid: int) -> set[int]:
    """Process ids of all children of `pid`, and of theirs."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            child, _, rest = stat.read_text().partition(" (")
            children.setdefault(int(rest.rpartition(") ")[2].split()[1]), []).append(int(child))
    found, new = set(), [pid]
    while new:
        new = [child for parent in new for child in children.get(parent, [])]
        found.update(new)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def _spec(seed: int) -> Spec:
    return small_spec().model_copy(update={"seed": seed})


@dataclass(frozen=True)
class Home:
    """A state folder, and the commands that work on it."""

    folder: Path

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
        path.write_text(yaml.safe_dump(_spec(seed).model_dump(mode="json")))
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
        return new_run(self.settings, _spec(seed), recipe="fake", name=None)

    def over(self, run: str) -> RunView:
        """The run's view once it is over."""

        def look() -> RunView | None:
            view = self.view(run)
            return view if view.state in RUN_OVER else None

        return until(look)


@pytest.fixture(scope="module")
def make_home(tmp_path_factory) -> Callable[[], Home]:
    def make() -> Home:
        home = Home(tmp_path_factory.mktemp("engine"))
        for queue in ("train", "extract", "probe"):
            (home.folder / f"fake_{queue}.py").write_text(WORKER.format(queue=queue))
        (home.folder / "fake_arithctl.py").write_text(COMMAND)
        (home.folder / "host.py").write_text(HOST)
        home.break_units({})
        return home

    return make


@pytest.fixture(scope="module")
def engine(make_home) -> Iterator[Home]:
    """A home with an engine that lives as long as this module's tests."""
    home = make_home()
    with home.running(sys.executable, "host.py") as host:
        assert host.stdout.readline() == "started\n"
        yield home


@pytest.fixture(scope="module")
def reference(engine) -> str:
    """A run in which nothing went wrong."""
    run = engine.submit(seed=0)
    assert engine.over(run).state == "done"
    return run


def test_a_run_goes_through_all_stages_and_leaves_every_row_once(engine, reference):
    stages = engine.view(reference).stages
    # Two shards to fit on and one to evaluate on, then one more of each, since the first misses a problem.
    assert [(stage.name, stage.state, stage.done) for stage in stages] == [
        ("train", "done", 1),
        ("extract", "done", 5),
        ("probe", "done", 4),
        ("summarize", "done", 1),
    ]
    assert [(row["layer"], row["position"], row["value"]) for row in engine.scores(reference)] == [
        (layer, position, position / 100) for layer in range(2) for position in range(20)
    ]


def test_a_pool_child_that_is_killed_in_its_unit_only_delays_the_run(engine, reference):
    engine.break_units({"model": {"kill": True}, "trained/layer-01/position-010": {"kill": True}})
    run = engine.submit(seed=1)
    view = engine.over(run)
    assert (view.state, [stage.failed for stage in view.stages]) == ("done", [0] * 4)
    assert engine.scores(run) == engine.scores(reference)
    assert engine.events(run).count("lease lost") == 2


def test_a_worker_that_is_killed_with_its_unit_is_started_again(engine, reference):
    engine.break_units({"model": {"sleep_s": 600}})
    run = engine.submit(seed=2)
    until(lambda: engine.view(run).stages[0].running)
    trainer = engine.trainer()
    child = descendants(trainer)
    os.kill(trainer, signal.SIGKILL)
    until(lambda: not any(map(is_alive, child)))
    assert engine.over(run).state == "done"
    assert engine.scores(run) == engine.scores(reference)
    assert is_alive(engine.trainer())


def test_a_poisonous_unit_fails_the_run_after_three_attempts(engine):
    engine.break_units({"model": {"raise": "poison", "attempts": 99}})
    ran = engine.run("submit", engine.recipe(seed=3), "--wait")
    assert ran.returncode == 1
    assert "failed: 1 of 1 train units failed: RuntimeError: poison" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert engine.events(engine.view().id).count("attempt failed") == 3


def test_resuming_a_failed_run_does_only_what_is_missing(engine):
    engine.break_units({"trained/layer-01/position-010": {"raise": "poison", "attempts": 3}})
    run = engine.submit(seed=4)
    assert engine.over(run).state == "failed"
    kept = [stage.done for stage in engine.view(run).stages]
    assert kept == [1, 5, 3, 0]
    ran = engine.run("resume", run, "--wait", "--output", "results")
    assert (ran.returncode, "units queued again: 1" in ran.stderr) == (0, True)
    assert [stage.done for stage in engine.view(run).stages] == [1, 5, 4, 1]
    assert {"scores.csv", "summary.csv"} <= {
        path.name for path in (engine.folder / "results" / run).iterdir()
    }


def test_the_same_experiment_again_reuses_every_artifact(engine, reference):
    run = engine.submit(seed=0)
    assert engine.over(run).state == "done"
    assert [(stage.name, stage.reused) for stage in engine.view(run).stages] == [
        ("train", 1),
        ("extract", 5),
        ("probe", 4),
        ("summarize", 1),
    ]
    assert engine.scores(run) == engine.scores(reference)


@pytest.fixture
def interrupted(make_home) -> Iterator[tuple[Home, subprocess.Popen[str]]]:
    """`submit --wait` in the middle of a unit that would take hours; the next attempt would take none."""
    home = make_home()
    home.break_units({"model": {"sleep_s": 9_999}})
    with home.running(*home.command("submit", home.recipe(seed=0), "--wait")) as parent:
        run = parent.stdout.readline().split()[1]
        until(lambda: home.view(run).stages[0].running)
        yield home, parent


def kill(parent: subprocess.Popen[str]) -> None:
    """End a process the hard way, and see that its whole family goes."""
    family = descendants(parent.pid)
    assert len(family) > 4  # a broker, at least three workers, their children
    parent.kill()
    parent.wait()
    until(lambda: not any(map(is_alive, family)), within_s=20)


def test_killing_the_parent_leaves_no_process_and_resume_completes_the_run(interrupted):
    home, parent = interrupted
    kill(parent)
    ran = home.run("resume", "last", "--wait")
    assert ran.returncode == 0, ran.stderr
    assert home.view().state == "done"
    assert "Summary" in ran.stdout


def test_a_second_process_looks_on_and_takes_over_when_the_first_is_killed(interrupted):
    home, parent = interrupted
    with home.running(*home.command("resume", "last", "--wait")) as second:
        until(lambda: "train" in second.stdout.readline())
        assert descendants(second.pid) == set()
        kill(parent)
        until(lambda: second.poll() is not None)
        assert second.returncode == 0
