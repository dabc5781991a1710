"""Cancel, resume, delete, collect, verify, repair: whatever is stopped, lost or full, the rows come out the same.

Where processes matter (cancelling a unit in work, a full disk) the embedded engine runs in this process with
real workers; elsewhere a worker's code runs here directly, unit by unit.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from arith_shared.errors import DiskBudgetError, UserError
from arith_shared.job import Worker
from arith_shared.ledger import plan, reconcile, runs, views
from arith_shared.ledger.clock import now
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import RUN_OVER, Artifact, Unit
from arith_shared.settings import Settings
from arith_shared.store.artifacts import ArtifactStore
from arith_shared.store.manifest import MANIFEST
from arith_shared.testing import FAULTS, RecordingSender, small_spec
from arithctl.connection import open_database
from arithctl.embedded import Engine, workers
from arithctl.housekeeping import GRACE_S, make_room
from arithctl.main import main
from arithctl.submission import new_run

#: A worker module as the services have them, with work that takes milliseconds and a settings of its own.
WORKER = """
import os
os.environ.update({environment!r})
from arith_shared.job import worker_app
STAGES = ("train", "extract", "probe", "summarize")
app = worker_app("{queue}", "fake_{queue}", dict.fromkeys(STAGES, "arith_shared.testing:fake_handler"))
"""
#: The fake handlers in place of the services'.
HANDLERS = dict.fromkeys(plan.STAGES, "arith_shared.testing:fake_handler")
TIMES = {
    "ARITH_HEARTBEAT_S": "0.5",
    "ARITH_LEASE_S": "3",
    "ARITH_TICK_S": "0.2",
    "ARITH_RETRY_S": "1",
    "ARITH_RESEND_S": "2",
}
OVER_WITHIN_S = 60.0
OLD_S = 2 * GRACE_S


def until(happened: Callable[[], Any]) -> Any:
    """Wait for something that other processes bring about, and return it."""
    give_up = time.monotonic() + OVER_WITHIN_S
    while not (found := happened()):
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Home:
    """A state folder, its runs and its files."""

    folder: Path
    artifacts: Path
    cap: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings(
            home=self.folder / ".arith", artifacts=str(self.artifacts), tick_s=0.2, retry_s=0.01, resend_s=2.0,
            max_bytes=self.cap.get("ARITH_MAX_BYTES"),
        )  # fmt: skip

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(str(self.artifacts))

    def submit(self, seed: int = 0, threshold: float = 0.9) -> str:
        """Insert a run; different seeds share no artifact, different thresholds all but the summary."""
        spec = small_spec(probe={"threshold": threshold}).model_copy(update={"seed": seed})
        return new_run(self.settings, spec, recipe="fake", name=None)

    def cli(self, *arguments: str, stdin: str | None = None) -> Result:
        env = {
            "ARITH_HOME": str(self.settings.home), "ARITH_ARTIFACTS": str(self.artifacts), **self.cap,
        }  # fmt: skip
        return CliRunner().invoke(main, arguments, env=env, input=stdin, catch_exceptions=False)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Session]:
        with (
            contextlib.closing(Database(self.settings.database)) as database,
            database.transaction() as session,
        ):
            yield session

    def ask(self, question: Callable[[Session], Any]) -> Any:
        with contextlib.closing(Database(self.settings.database)) as database, database.reading() as session:
            return question(session)

    def view(self, run: str) -> views.RunView:
        return self.ask(lambda session: views.run_view(session, run))

    def over(self, run: str) -> views.RunView:
        """The run's view once it is over."""
        return until(lambda: view if (view := self.view(run)).state in RUN_OVER else None)

    def scores(self, run: str) -> list[dict[str, Any]]:
        """The run's scores without its name."""
        rows = self.ask(lambda session: views.table(session, run, "scores"))
        return [{name: value for name, value in row.items() if name != "run"} for row in rows]

    def attempts(self, run: str) -> dict[str, int]:
        query = select(Unit.key, Unit.attempt).where(Unit.run_id == run)
        return self.ask(lambda session: dict(session.execute(query).all()))

    def events(self, run: str) -> list[tuple[str, str]]:
        return self.ask(lambda session: [(event.kind, event.message) for event in views.events(session, run)])

    def path_of(self, run: str, unit: str) -> str:
        query = select(Artifact.path).join(Unit, Unit.artifact_key == Artifact.key)
        return self.ask(lambda session: session.scalar(query.where(Unit.run_id == run, Unit.key == unit)))

    def key_of(self, run: str, unit: str) -> str:
        query = select(Unit.content_key).where(Unit.run_id == run, Unit.key == unit)
        return self.ask(lambda session: session.scalar(query))

    def work(self, stop_before: str = "") -> None:
        """Do all units there are, up to the first of a stage, in this process with a worker's own code."""
        sender = RecordingSender()
        settings = self.settings.model_copy(update={"resend_s": 0.001})
        worker = Worker(settings, "probe", HANDLERS, "here")
        worker.__dict__["sender"] = sender  # a broker has no part in this
        with contextlib.closing(worker.database) as database:
            while True:
                reconcile.deliver(database, sender, resend_s=0.001)
                for message in sender.take():
                    with database.reading() as session:
                        unit = session.get_one(Unit, message.unit_id)
                    if unit.stage == stop_before:
                        return
                    worker.run(message.unit_id, message.attempt)
                with database.reading() as session:
                    if not session.scalar(
                        select(Unit.id).where(Unit.state.in_(("ready", "queued"))).limit(1)
                    ):
                        return

    def done(self, seed: int = 0, threshold: float = 0.9) -> str:
        """A run that is done."""
        run = self.submit(seed, threshold)
        self.work()
        assert self.view(run).state == "done"
        return run

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file and folder below the artifact root with its size and time."""
        return {
            str(path.relative_to(self.artifacts)): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(self.artifacts.rglob("*"))
        }

    def leave(self, *names: str, age_s: float = OLD_S) -> None:
        """Leave files behind, as a killed attempt would have so many seconds ago."""
        for name in names:
            path = self.artifacts / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("left behind")
            for item in (path, path.parent):
                os.utime(item, (time.time() - age_s,) * 2)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path / "artifacts")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# -- with an engine ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def engine_of(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Broker, workers and reconciler below this process, with the fake handlers."""
    environment = TIMES | {"ARITH_ARTIFACTS": str(home.artifacts), FAULTS: str(home.folder / "faults.json")}
    break_units(home, {})
    for queue in plan.QUEUES:
        text = WORKER.format(queue=queue, environment=environment)
        (home.folder / f"fake_{queue}.py").write_text(text)
        monkeypatch.setitem(workers.MODULES, queue, f"fake_{queue}")
    monkeypatch.setenv("PYTHONPATH", str(home.folder))
    with open_database(home.settings, create=True) as database, Engine(home.settings, database) as engine:
        engine.ensure_started()
        yield


def break_units(home: Home, faults: Mapping[str, Mapping[str, Any]]) -> None:
    (home.folder / "new").write_text(json.dumps(faults))
    (home.folder / "new").replace(home.folder / "faults.json")


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with an engine that lives as long as this module's tests."""
    folder = tmp_path_factory.mktemp("housekeeping")
    home = Home(folder, folder / "artifacts")
    with pytest.MonkeyPatch.context() as monkeypatch, engine_of(home, monkeypatch):
        yield home


@pytest.fixture(scope="module")
def undisturbed(busy: Home) -> list[dict[str, Any]]:
    """Scores of a run in which nothing happened."""
    run = busy.submit(seed=0)
    assert busy.over(run).state == "done"
    scores = busy.scores(run)
    assert len(scores) == 40
    return scores


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the embedded workers end with their parent on Linux")
@pytest.mark.parametrize(
    ("seed", "unit"),
    list(enumerate(("model", "trained/probe/00001", "trained/layer-01/position-000", "summary"), start=1)),
)
def test_a_run_cancelled_in_any_stage_and_resumed_has_the_scores_of_an_undisturbed_one(
    busy: Home, undisturbed: list[dict[str, Any]], seed: int, unit: str
) -> None:
    break_units(busy, {unit: {"sleep_s": 600}})
    run = busy.submit(seed=seed)
    is_running = select(Unit.id).where(Unit.run_id == run, Unit.key == unit, Unit.state == "running")
    until(lambda: busy.ask(lambda session: session.scalar(is_running)))
    assert busy.cli("cancel", run).stdout == f"{run}: cancelling\n"
    # "cancelling", or "cancelled" where the unit's next heartbeat was faster than the second command.
    assert "over already: cancell" in busy.cli("cancel", run).stdout
    assert busy.over(run).state == "cancelled"
    done = {key for key, count in busy.attempts(run).items() if busy.path_of(run, key)}
    break_units(busy, {})
    assert busy.cli("resume", run).exit_code == 0
    assert busy.over(run).state == "done"
    assert busy.scores(run) == undisturbed
    # What was done before the cancellation was not done again.
    assert {busy.attempts(run)[key] for key in done} <= {1}


# -- delete and gc ----------------------------------------------------------------------------------------------


def test_delete_refuses_an_active_run_and_asks_before_it_deletes_one_that_is_over(home: Home) -> None:
    run = home.submit()
    refused = home.cli("delete", run, "--yes")
    assert refused.exit_code == 2
    assert f"{run} is active: `arithctl cancel {run}` first" in refused.stderr
    home.cli("cancel", run)
    assert home.cli("delete", run, stdin="n\n").exit_code == 1
    assert home.view(run).state == "cancelled"
    deleted = home.cli("delete", run, "--yes")
    assert (deleted.exit_code, deleted.stdout.startswith(f"{run} is deleted; `arithctl gc`")) == (0, True)
    assert home.cli("status", run).exit_code == 2


def test_deleting_a_run_and_collecting_leaves_what_other_runs_use_and_nothing_else(home: Home) -> None:
    kept, gone = home.done(seed=0), home.done(seed=1)
    sibling = home.done(seed=1, threshold=0.5)
    scores = home.scores(sibling)
    for run in (gone, sibling):
        home.cli("delete", run, "--yes")
    files = home.files()
    assert set(files) == set(home.files())
    freed = {item["kind"]: item for item in json.loads(home.cli("gc", "--json").stdout)}
    assert freed["unreferenced"]["count"] == 11 + 1  # all of seed 1, and the second summary
    assert freed["unreferenced"]["bytes"] > 0
    assert sum(item["count"] for kind, item in freed.items() if kind != "unreferenced") == 0
    assert len(list(home.store.paths())) == 11
    assert home.cli("doctor", "--verify", kept).exit_code == 0
    assert home.scores(home.done(seed=1, threshold=0.5)) == scores


LEFT_OVER = {
    "unnamed": ["models/{done}/dead", "states/nobody/dead"],
    "unfinished": ["scores/cut/short"],
    "workspace": ["tmp/killed"],
    "scratch": ["scratch/{done}", "scratch/nobody"],
}


@pytest.fixture
def littered(home: Home) -> tuple[Home, str]:
    """A home with a done and a failed run, and what killed attempts left long ago and just now."""
    done, failed = home.done(seed=0), home.submit(seed=1)
    home.work(stop_before="extract")
    home.cli("cancel", failed)
    key, unfinished = home.key_of(done, "model"), home.key_of(failed, "trained/probe/00000")
    for folder in ("models/{}/dead", "states/nobody/dead"):
        home.leave(f"{folder.format(key)}/{MANIFEST}", f"{folder.format(key)}/weights.bin")
    home.leave("scores/cut/short/part.bin", "tmp/killed/half.bin", "scratch/nobody/step-10.bin")
    home.leave(f"scratch/{key}/step-10.bin", f"scratch/{unfinished}/step-10.bin")
    home.leave(
        f"models/{key}/fresh/{MANIFEST}", "scores/cut/fresh/part.bin", "tmp/fresh/half.bin",
        "scratch/fresh/step-10.bin", age_s=0.0,
    )  # fmt: skip
    return home, key


def test_a_dry_run_of_gc_lists_all_garbage_and_touches_nothing(littered: tuple[Home, str]) -> None:
    home, key = littered
    before = home.files()
    text = home.cli("gc", "--dry-run").stdout
    listed = {item["kind"]: item for item in json.loads(home.cli("gc", "--dry-run", "--json").stdout)}
    for kind, names in LEFT_OVER.items():
        paths = {path.removeprefix(f"{home.artifacts}/") for path in listed[kind]["paths"]}
        assert paths == {name.format(done=key) for name in names}
        assert listed[kind]["bytes"] == sum(before[f][0] for f in before if _is_below(f, paths))
        assert all(path in text for path in listed[kind]["paths"])
    assert home.files() == before


def test_gc_removes_exactly_what_no_row_names(littered: tuple[Home, str]) -> None:
    home, key = littered
    before = home.files()
    gone = {name.format(done=key) for names in LEFT_OVER.values() for name in names}
    assert home.cli("gc").exit_code == 0
    after = home.files()
    assert {name for name in before if name not in after} == {
        name for name in before if name in gone or _is_below(name, gone)
    }
    assert home.cli("gc").stdout == "0 B removed\n"


def _is_below(name: str, folders: set[str]) -> bool:
    return any(name.startswith(f"{folder}/") for folder in folders) and not name.endswith("/")


def test_gc_leaves_the_files_of_work_that_began_before_the_grace_period(home: Home) -> None:
    run = home.submit()
    with home.transaction() as session:
        session.execute(
            update(Unit).values(state="running", owner="o", lease_until=now() + 60, started_at=now() - OLD_S)
        )
    key = home.key_of(run, "model")
    home.leave("tmp/attempt/half.bin", f"scratch/{key}/step-10.bin", "models/other/part/x.bin")
    home.leave(f"models/{key}/other/{MANIFEST}")
    before = home.files()
    assert home.cli("gc").exit_code == 2  # a database that names nothing is not trusted
    with home.transaction() as session:
        session.add(
            Artifact(
                key="k", kind="models", path="models/k/t", digest="", size_bytes=0, meta={}, created_at=0.0,
                used_at=0.0,
            )
        )  # fmt: skip
    home.cli("gc")
    assert home.files() == before


def test_gc_refuses_a_root_of_which_the_database_names_nothing(home: Home, tmp_path: Path) -> None:
    home.done()
    stranger = Home(tmp_path / "stranger", home.artifacts)
    stranger.submit()
    before = home.files()
    refused = stranger.cli("gc")
    assert (refused.exit_code, "names none of them" in refused.stderr) == (2, True)
    assert home.files() == before


def test_gc_and_the_cap_refuse_a_named_database_whose_artifact_root_is_not_named(home: Home) -> None:
    """The files that happen to lie here are another database's, or nobody knows."""
    home.done()
    before = home.files()
    env = {"ARITH_HOME": str(home.folder), "ARITH_DATABASE_URL": home.settings.database}
    for command in (["gc"], ["gc", "--dry-run"]):
        refused = CliRunner().invoke(main, command, env=env, catch_exceptions=False)
        assert (refused.exit_code, "set ARITH_ARTIFACTS as its workers have it" in refused.stderr) == (
            2,
            True,
        )
    foreign = Settings(home=home.folder, database_url=home.settings.database, max_bytes=0)
    with (
        contextlib.closing(Database(home.settings.database)) as database,
        pytest.raises(UserError, match="set ARITH_ARTIFACTS"),
    ):
        make_room(foreign, database, home.store)
    assert home.files() == before
    named = CliRunner().invoke(main, ["gc"], env={**env, "ARITH_ARTIFACTS": str(home.artifacts)})
    assert named.exit_code == 0


# -- the size cap -----------------------------------------------------------------------------------------------


def kinds_with_files(home: Home, run: str) -> set[str]:
    query = select(Artifact.kind).join(Unit, Unit.artifact_key == Artifact.key).where(Unit.run_id == run)
    return set(home.ask(lambda s: list(s.scalars(query.where(Artifact.deleted_at.is_(None))))))


def test_the_cap_deletes_hidden_states_least_recently_used_first_and_nothing_else(home: Home) -> None:
    first, second = home.done(seed=0), home.done(seed=1)
    third = home.done(seed=0, threshold=0.5)  # uses the first run's states again
    active = home.submit(seed=2)
    home.work(stop_before="probe")
    scores = {run: home.scores(run) for run in (first, second, third)}
    home.cap["ARITH_MAX_BYTES"] = str(home.store.used_bytes() - 1)
    freed = {item["kind"]: item for item in json.loads(home.cli("gc", "--json").stdout)}
    assert freed["states"]["paths"] == [freed["states"]["paths"][0]]
    assert kinds_with_files(home, second) == {"models", "states", "scores", "summaries"}
    home.cap["ARITH_MAX_BYTES"] = "0"
    ran = home.cli("gc")
    assert "over ARITH_MAX_BYTES: the rest is in use" in ran.stderr
    for run in (first, second, third):
        assert kinds_with_files(home, run) == {"models", "scores", "summaries"}
        assert home.scores(run) == scores[run]
        assert home.cli("doctor", "--verify", run).exit_code == 0
    assert "states" in kinds_with_files(home, active)
    home.cap.clear()
    home.work()
    assert home.view(active).state == "done"
    again = home.done(seed=1, threshold=0.5)
    stages = {stage.name: stage.reused for stage in home.view(again).stages}
    assert stages == {"train": 1, "extract": 0, "probe": 4, "summarize": 0}
    assert home.scores(again) == scores[second]


def test_the_first_states_to_go_are_those_not_used_for_longest(home: Home) -> None:
    old, new = home.done(seed=0), home.done(seed=1)
    home.done(seed=0, threshold=0.5)
    home.cap["ARITH_MAX_BYTES"] = str(home.store.used_bytes() - 1)
    home.cli("gc")
    deleted = home.ask(
        lambda s: list(s.scalars(select(Artifact.key).where(Artifact.deleted_at.is_not(None))))
    )
    assert deleted == [home.key_of(new, "trained/probe/00000")]
    assert kinds_with_files(home, old) == {"models", "states", "scores", "summaries"}


def test_submitting_makes_room_first_and_refuses_when_all_that_is_left_is_in_use(home: Home) -> None:
    done = home.done(seed=0)
    home.cap["ARITH_MAX_BYTES"] = str(home.store.used_bytes() - 1)
    home.submit(seed=1)
    deleted = home.ask(
        lambda s: list(s.scalars(select(Artifact.kind).where(Artifact.deleted_at.is_not(None))))
    )
    assert deleted == ["states"]
    home.cap["ARITH_MAX_BYTES"] = "0"
    with pytest.raises(DiskBudgetError, match=r"ARITH_MAX_BYTES=0.*`arithctl delete`"):
        home.submit(seed=2)
    assert len(home.ask(views.run_list)) == 2
    assert home.view(done).state == "done"


def test_a_cancelled_run_whose_states_were_deleted_makes_them_again_when_it_is_resumed(home: Home) -> None:
    run = home.submit()
    home.work(stop_before="probe")
    home.cli("cancel", run)
    home.cap["ARITH_MAX_BYTES"] = "0"
    home.cli("gc")
    home.cap.clear()
    home.cli("resume", run)
    home.work()
    assert home.view(run).state == "done"
    assert home.attempts(run)["model"] == 1
    reference = home.done(seed=1)
    assert home.scores(run) == home.scores(reference)


# -- damage -----------------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_found_by_doctor_and_resume_repairs_just_that_unit(home: Home) -> None:
    run, unit = home.done(), "trained/probe/00001"
    scores, attempts = home.scores(run), home.attempts(run)
    file = home.artifacts / home.path_of(run, unit) / "states.json"
    flip_a_bit(file)
    found = home.cli("doctor", "--verify", run)
    assert found.exit_code == 1
    assert f"damaged  extract {unit}: {file}: expected SHA-256" in found.stdout
    assert "11 artifacts, " in found.stdout
    assert f"1 damaged; `arithctl resume {run} --repair`" in found.stdout
    damaged = [
        one for one in json.loads(home.cli("doctor", "--verify", run, "--json").stdout) if one["damage"]
    ]
    assert [one["unit"] for one in damaged] == [unit]
    repaired = home.cli("resume", run, "--repair")
    assert f"{run}: active, units queued again: 1" in repaired.stderr
    home.work()
    assert home.view(run).state == "done"
    assert home.cli("doctor", "--verify", run).exit_code == 0
    assert home.scores(run) == scores
    assert home.attempts(run) == attempts | {unit: 2}


def test_a_missing_file_and_a_lost_folder_are_found_and_repaired(home: Home) -> None:
    run = home.done()
    scores = home.scores(run)
    (home.artifacts / home.path_of(run, "summary") / "rows.json").unlink()
    (home.artifacts / home.path_of(run, "trained/test/00000") / MANIFEST).unlink()
    found = home.cli("doctor", "--verify", run)
    assert (found.exit_code, "2 damaged" in found.stdout) == (1, True)
    home.cli("resume", run, "--repair")
    home.work()
    assert home.cli("doctor", "--verify", run).exit_code == 0
    assert home.scores(run) == scores


def test_repairing_a_run_without_damage_changes_nothing(home: Home) -> None:
    run = home.done()
    assert f"{run}: done, units queued again: 0" in home.cli("resume", run, "--repair").stderr
    assert home.view(run).state == "done"


def test_a_worker_that_meets_a_damaged_file_fails_the_run_at_once_with_the_remedy(home: Home) -> None:
    run = home.submit()
    home.work(stop_before="extract")
    file = home.artifacts / home.path_of(run, "model") / "model.txt"
    flip_a_bit(file)
    home.work()
    view = home.view(run)
    assert view.state == "failed"
    assert str(file) in view.error
    assert f"`arithctl resume {run} --repair` makes it again (extract unit trained/probe/00000" in view.error
    assert [kind for kind, _ in home.events(run)].count("attempt failed") == 1
    assert home.cli("resume", run, "--repair").exit_code == 0
    home.work()
    assert home.view(run).state == "done"
    assert home.attempts(run)["model"] == 2
    assert home.scores(run) == home.scores(home.done(seed=1))


def test_a_poisonous_unit_is_named_with_its_attempt_its_host_and_what_to_do(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faults.json").write_text(json.dumps({"trained/test/00000": {"raise": "bad", "attempts": 9}}))
    monkeypatch.setenv(FAULTS, str(tmp_path / "faults.json"))
    run = home.submit()
    home.work()
    view = home.view(run)
    assert view.state == "failed"
    host = os.uname().nodename
    assert f"failed: RuntimeError: bad (extract unit trained/test/00000, attempt 3 on {host}); " in view.error
    assert f"`arithctl logs {run} --errors` shows the traceback, `arithctl resume {run}`" in view.error
    log = home.cli("logs", run, "--errors").stdout
    assert log.count("\nRuntimeError: bad\n") == 3
    assert "raise RuntimeError(message)" in log
    assert home.ask(lambda session: runs.find(session, run)).error == view.error
