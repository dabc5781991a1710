"""Layers in rounds: the same scores as all at once, with the hidden states of one round on the disk at most."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from arith_shared.job import Worker
from arith_shared.ledger import garbage, invariants, plan, reconcile, runs, views
from arith_shared.ledger.database import Database
from arith_shared.ledger.rounds import kind_of, layer_groups, round_of, stage_names
from arith_shared.ledger.tables import Artifact, Attempt, Run, Stage, Unit
from arith_shared.settings import Settings
from arith_shared.specs import Spec
from arith_shared.testing import RecordingSender, small_spec

IN_ROUNDS = {"layers_at_once": 1, "keep_states": False}


class Site:
    """A ledger, a folder and a worker of every kind in this process."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.sender = RecordingSender()
        self.worker = Worker(
            Settings(home=folder, database_url="sqlite://"),
            "probe",
            dict.fromkeys(plan.STAGES, "arith_shared.testing:fake_handler"),
            "w",
        )
        self.worker.__dict__.update(database=database, sender=self.sender)
        self.database, self.store = database, self.worker.store
        #: The rounds whose hidden states lay on the disk, after each unit.
        self.seen: list[set[int]] = []

    def submit(self, spec: Spec) -> str:
        with self.database.transaction() as session:
            return runs.submit(session, spec, recipe="tiny").id

    def work(self, until: str | None = None) -> None:
        """Do all there is, or stop before the first unit of a stage."""
        reconcile.tick(self.database, self.sender, resend_s=60.0, retry_s=0.0)
        while messages := self.sender.take():
            for message in messages:
                with self.database.reading() as session:
                    if session.get_one(Unit, message.unit_id).stage == until:
                        return
                self.worker.run(message.unit_id, message.attempt)
                with self.database.reading() as session:
                    assert invariants.violations(session) == []
                self.seen.append(self.rounds_on_disk())

    def run(self, **extract: object) -> str:
        spec = small_spec(extract={"n_train": 20, "n_eval": 10, "shard_problems": 10, **extract})
        run_id = self.submit(spec)
        self.work()
        return run_id

    def rounds_on_disk(self) -> set[int]:
        published = {path for path in self.store.paths() if path.startswith("states/")}
        with self.database.reading() as session:
            made = session.execute(
                select(Artifact.path, Unit.stage).join(Unit, Unit.artifact_key == Artifact.key)
            )
            return {round_of(stage) for path, stage in made if path in published}

    def stages(self, run_id: str) -> list[tuple[str, str]]:
        with self.database.reading() as session:
            query = select(Stage.name, Stage.state).where(Stage.run_id == run_id).order_by(Stage.ordinal)
            return [tuple(row) for row in session.execute(query)]

    def table(self, run_id: str, name: str) -> list[dict[str, object]]:
        with self.database.reading() as session:
            return [{**row, "run": ""} for row in views.table(session, run_id, name)]

    def attempts(self, run_id: str) -> dict[str, int]:
        query = select(Unit.stage, Unit.key, Attempt.number).join(Unit, Unit.id == Attempt.unit_id)
        with self.database.reading() as session:
            return {
                f"{stage}/{key}": n for stage, key, n in session.execute(query.where(Unit.run_id == run_id))
            }


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    return Site(database, tmp_path / "home")


def test_stages_come_again_for_each_group_of_layers(site: Site) -> None:
    run_id = site.run(**IN_ROUNDS)
    names = ["train", "extract", "probe", "extract-2", "probe-2", "summarize"]
    assert site.stages(run_id) == [(name, "done") for name in names]


def test_rounds_give_the_scores_and_the_summary_of_all_layers_at_once(site: Site) -> None:
    rounds, once = site.run(**IN_ROUNDS), site.run()
    assert len(site.table(once, "scores")) == 40
    for name in ("scores", "summary"):
        assert site.table(rounds, name) == site.table(once, name)


def test_no_more_than_one_round_of_states_is_ever_on_the_disk(site: Site) -> None:
    site.run(**IN_ROUNDS)
    assert {1} in site.seen
    assert {2} in site.seen
    assert {1, 2} not in site.seen
    assert site.rounds_on_disk() == set()


def test_kept_states_stay_in_all_rounds(site: Site) -> None:
    site.run(layers_at_once=1)
    assert site.rounds_on_disk() == {1, 2}


def test_without_rounds_states_go_once_all_layers_are_probed(site: Site) -> None:
    run_id = site.run(keep_states=False)
    assert [name for name, _ in site.stages(run_id)] == ["train", "extract", "probe", "summarize"]
    assert {1} in site.seen
    assert site.rounds_on_disk() == set()


def test_states_that_another_active_run_may_read_are_not_deleted(site: Site) -> None:
    spec = small_spec(extract={"n_train": 20, "n_eval": 10, "shard_problems": 10})
    waiting = site.submit(spec)
    site.work(until="probe")
    site.sender.take()
    site.run(keep_states=False)
    assert site.rounds_on_disk() == {1}
    with site.database.reading() as session:
        assert session.get_one(Run, waiting).state == "active"


def test_a_resumed_run_extracts_nothing_again_whose_probes_are_fitted(site: Site) -> None:
    run_id = site.submit(small_spec(extract={"n_train": 20, "n_eval": 10, "shard_problems": 10, **IN_ROUNDS}))
    site.work(until="probe-2")
    before = site.attempts(run_id)
    with site.database.transaction() as session:
        runs.cancel(session, run_id)
    with site.database.transaction() as session:
        runs.resume(session, run_id)
    site.work()
    assert site.stages(run_id)[-1] == ("summarize", "done")
    assert {name: n for name, n in site.attempts(run_id).items() if name in before} == before


def test_what_a_killed_worker_leaves_of_a_round_is_garbage(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "_remove_released", lambda self, held: None)
    site.run(**IN_ROUNDS)
    published = {path for path in site.store.paths() if path.startswith("states/")}
    with site.database.reading() as session:
        assert published
        assert not published & garbage.named_paths(session)


def test_a_shard_that_was_added_for_lack_of_solved_problems_is_in_every_round(site: Site) -> None:
    run_id = site.run(**IN_ROUNDS)
    with site.database.reading() as session:
        query = select(Unit.stage, Unit.key, Unit.payload).where(Unit.run_id == run_id).order_by(Unit.key)
        shards = [row for row in session.execute(query) if kind_of(row.stage) == "extract"]
    keys = {stage: [row.key for row in shards if row.stage == stage] for stage in ("extract", "extract-2")}
    assert keys["extract"] == keys["extract-2"]
    assert len(keys["extract"]) == 5
    assert {(row.stage, *row.payload["layers"]) for row in shards} == {("extract", 0), ("extract-2", 1)}


@pytest.mark.parametrize(
    ("size", "groups"), [(None, [(0, 1, 2)]), (1, [(0,), (1,), (2,)]), (2, [(0, 1), (2,)])]
)
def test_groups_are_neighbouring_layers(size: int | None, groups: list[tuple[int, ...]]) -> None:
    spec = small_spec(lm={"layers": 2}, extract={"layers_at_once": size})
    assert layer_groups(spec) == groups
    assert len(stage_names(spec)) == 2 + 2 * len(groups)
