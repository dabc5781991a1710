"""What the ledger gives up, and never gives up, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from arith_shared.errors import UserError
from arith_shared.ledger import garbage, invariants, reconcile, runs, units
from arith_shared.ledger.clock import now
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import Artifact, Attempt, Event, Run, Score, Stage, Summary, Unit
from arith_shared.testing import RecordingSender, small_spec

KINDS = {"train": "models", "extract": "states", "probe": "scores", "summarize": "summaries"}
EVERYTHING_OF_A_RUN = (Run, Stage, Unit, Attempt, Score, Summary, Event)


class Ledger:
    """A ledger whose workers succeed at once, and publish each time at a path of its own."""

    def __init__(self, database: Database) -> None:
        self.database, self.sender = database, RecordingSender()

    def submit(self, seed: int = 0, **groups: object) -> str:
        spec = small_spec(**groups).model_copy(update={"seed": seed})
        with self.database.transaction() as session:
            return runs.submit(session, spec, recipe="tiny").id

    def claim_next(self) -> units.Claim | None:
        reconcile.tick(self.database, self.sender, resend_s=30.0, retry_s=0.0)
        self.sender.take()
        with self.database.transaction() as session:
            unit = session.scalar(select(Unit).where(Unit.state == "queued").order_by(Unit.id).limit(1))
            if unit is None:
                return None
            return units.claim(
                session, unit.id, unit.attempt, owner=uuid.uuid4().hex, worker_id="w", host="h", lease_s=60.0
            )

    def finish(self, held: units.Claim, *, digest: str = "", reused: bool = False) -> bool:
        meta = {**held.payload, "tried": 10, "solved": 10, "kept": 10}
        key = held.content_key
        new = units.NewArtifact(
            key, KINDS[held.stage], f"{KINDS[held.stage]}/{key}/{held.owner}", digest or key, 7, meta
        )
        return self.tell(lambda session: units.finish(session, held, new, _rows(held), reused=reused))

    def fail(self, held: units.Claim) -> None:
        with self.database.transaction() as session:
            units.fail(session, held, "boom", "trace", permanent=True, retry_s=0.0)

    def work(self, until: str | None = None) -> units.Claim | None:
        """Finish all there is; or give the first claimed unit of the stage `until`, unfinished."""
        while held := self.claim_next():
            if held.stage == until:
                return held
            assert self.finish(held)
        return None

    def done_run(self, seed: int = 0, **groups: object) -> str:
        run_id = self.submit(seed, **groups)
        self.work()
        assert self.state(run_id) == "done"
        return run_id

    def state(self, run_id: str) -> str:
        with self.database.reading() as session:
            return session.get_one(Run, run_id).state

    def ask(self, question):
        with self.database.reading() as session:
            return question(session)

    def tell(self, change, *arguments):
        """Change something; every invariant holds afterwards."""
        with self.database.transaction() as session:
            answer = change(session, *arguments)
        assert self.ask(invariants.violations) == []
        return answer

    def let_leases_end(self) -> None:
        held = update(Unit).where(Unit.state == "running")
        self.tell(lambda session: session.execute(held.values(lease_until=now() - 1.0)))

    def attempts(self, run_id: str) -> dict[str, int]:
        def look(session: Session) -> dict[str, int]:
            return dict(session.execute(select(Unit.key, Unit.attempt).where(Unit.run_id == run_id)).all())

        return self.ask(look)

    def scores(self, run_id: str) -> Sequence[tuple[object, ...]]:
        query = select(Score.layer, Score.position, Score.value, Score.unit_id).where(Score.run_id == run_id)
        ordered = query.order_by(Score.layer, Score.position)
        return self.ask(lambda session: [tuple(row) for row in session.execute(ordered)])

    def keys(self, stage: str, run_id: str) -> list[str]:
        query = select(Unit.content_key).where(Unit.stage == stage, Unit.run_id == run_id).order_by(Unit.id)
        return self.ask(lambda session: list(session.scalars(query)))


def _rows(held: units.Claim) -> dict[str, list[dict[str, object]]]:
    if held.stage == "summarize":
        return {"summary": [{"name": "accuracy", "value": 1.0}]}
    if held.stage != "probe":
        return {}
    cell = {"token": "A", "variable": "A", "family": "ridge", "metric": "pearson", "value": 0.5}
    facts = {"n_train": 20, "n_eval": 10, "given": False, "status": "ok"}
    layer = held.payload["layer"]
    return {"scores": [{"layer": layer, "position": p, **cell, **facts} for p in held.payload["positions"]]}


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def spare_keys(ledger: Ledger) -> set[str]:
    return {spare.key for spare in ledger.ask(garbage.spare_states)}


def delete_states(ledger: Ledger) -> int:
    """Delete all hidden states that can be; how many that were."""
    return sum(ledger.tell(garbage.mark_deleted, spare) for spare in ledger.ask(garbage.spare_states))


def test_deleting_a_run_removes_its_rows_and_no_artifact_and_nothing_of_another_run(ledger: Ledger) -> None:
    kept, gone = ledger.done_run(seed=0), ledger.done_run(seed=1)
    scores = ledger.scores(kept)
    ledger.tell(runs.delete, gone)

    def count(session: Session) -> dict[str, int]:
        return {
            table.__tablename__: session.scalar(select(func.count()).select_from(table))
            for table in (*EVERYTHING_OF_A_RUN, Artifact)
        }

    left = ledger.ask(count)
    ledger.tell(runs.delete, kept)
    assert left["runs"] == 1
    assert ledger.ask(count) == dict.fromkeys(left, 0) | {"artifacts": 18}
    assert left["artifacts"] == 18  # nine units in each run
    assert len(scores) == left["scores"] == 40


def test_a_run_is_not_deleted_while_it_is_active_or_a_worker_holds_a_unit_of_it(ledger: Ledger) -> None:
    run_id = ledger.submit()
    held = ledger.work(until="extract")
    with pytest.raises(UserError, match=f"`arithctl cancel {run_id}` first"):
        ledger.tell(runs.delete, run_id)
    ledger.tell(runs.cancel, run_id)
    with pytest.raises(UserError, match="cancelling, but a worker still holds"):
        ledger.tell(runs.delete, run_id)
    ledger.tell(units.release, held, "cancelled")
    ledger.tell(runs.delete, run_id)
    assert ledger.ask(lambda session: session.get(Run, run_id)) is None


def test_a_run_whose_worker_died_can_be_deleted_without_an_engine(ledger: Ledger) -> None:
    run_id = ledger.submit()
    ledger.work(until="extract")
    ledger.let_leases_end()
    ledger.tell(runs.cancel, run_id)
    assert ledger.state(run_id) == "cancelled"
    ledger.tell(runs.delete, run_id)


def test_a_worker_that_comes_back_after_its_run_was_deleted_changes_nothing(ledger: Ledger) -> None:
    run_id = ledger.submit()
    held = ledger.work(until="extract")
    ledger.let_leases_end()
    ledger.tell(runs.cancel, run_id)
    ledger.tell(runs.delete, run_id)
    assert ledger.tell(units.heartbeat, held, units.Report(), 60.0) == "lost"
    assert not ledger.finish(held)
    assert not ledger.tell(units.release, held, "released")
    ledger.fail(held)


def test_only_artifacts_that_no_unit_has_the_key_of_are_unreferenced(ledger: Ledger) -> None:
    first, second = ledger.done_run(seed=0), ledger.done_run(seed=0, probe={"threshold": 0.5})
    assert ledger.ask(garbage.unreferenced) == []
    ledger.tell(runs.delete, second)
    only_second = {spare.key for spare in ledger.ask(garbage.unreferenced)}
    assert len(only_second) == 1  # its summary; model, shards and scores are those of the first
    ledger.tell(runs.delete, first)
    spares = ledger.ask(garbage.unreferenced)
    assert {spare.size_bytes for spare in spares} == {7}
    assert all(ledger.tell(garbage.forget, spare) for spare in spares)
    assert ledger.ask(garbage.named_paths) == set()


def test_an_artifact_that_a_new_run_wants_is_not_forgotten(ledger: Ledger) -> None:
    ledger.tell(runs.delete, ledger.done_run())
    spares = {spare.path.split("/")[0]: spare for spare in ledger.ask(garbage.unreferenced)}
    ledger.submit()
    assert not ledger.tell(garbage.forget, spares["models"])
    assert ledger.tell(garbage.forget, spares["summaries"])


def test_states_are_spare_when_all_runs_that_use_them_are_over_least_recently_used_first(
    ledger: Ledger,
) -> None:
    old, new = ledger.done_run(seed=0), ledger.done_run(seed=1)
    order = [spare.key for spare in ledger.ask(garbage.spare_states)]
    assert order == ledger.keys("extract", old) + ledger.keys("extract", new)
    # A third run uses what the first made, which is therefore the more recently used afterwards.
    third = ledger.submit(seed=0, probe={"threshold": 0.5})
    held = ledger.work(until="summarize")
    assert spare_keys(ledger) == set(ledger.keys("extract", new))
    assert ledger.finish(held)
    assert ledger.state(third) == "done"
    order = [spare.key for spare in ledger.ask(garbage.spare_states)]
    assert order == ledger.keys("extract", new) + ledger.keys("extract", old)


def test_states_in_use_since_they_were_found_are_not_deleted(ledger: Ledger) -> None:
    ledger.done_run(seed=0)
    spares = ledger.ask(garbage.spare_states)
    ledger.submit(seed=0, probe={"threshold": 0.5})
    held = ledger.work(until="probe")
    assert not any(ledger.tell(garbage.mark_deleted, spare) for spare in spares)
    # Nor once that run is over too: they are no longer the least recently used.
    ledger.finish(held)
    ledger.work()
    assert not any(ledger.tell(garbage.mark_deleted, spare) for spare in spares)
    assert delete_states(ledger) == len(spares)


def test_deleted_states_leave_scores_alone_and_are_not_reused(ledger: Ledger) -> None:
    run_id = ledger.done_run()
    scores = ledger.scores(run_id)
    assert delete_states(ledger) == 3
    assert ledger.scores(run_id) == scores
    assert not any("states" in path for path in ledger.ask(garbage.named_paths))
    ledger.submit(probe={"threshold": 0.5})
    held = ledger.work(until="extract")
    # A worker that read the row before the deletion tries to reuse what is gone.
    assert not ledger.finish(held, reused=True)
    assert ledger.finish(held)
    assert any(held.owner in path for path in ledger.ask(garbage.named_paths))


def test_resuming_makes_deleted_states_again_and_nothing_else(ledger: Ledger) -> None:
    run_id = ledger.submit()
    ledger.fail(ledger.work(until="probe"))
    before = ledger.attempts(run_id)
    assert delete_states(ledger) == 3
    assert ledger.tell(runs.resume, run_id) == 3 + 4  # the shards, and all blocks of probes
    assert ledger.claim_next().stage == "extract"
    ledger.let_leases_end()
    ledger.work()
    assert ledger.state(run_id) == "done"
    after = ledger.attempts(run_id)
    assert after["model"] == before["model"] == 1
    assert len(ledger.scores(run_id)) == 40


def test_a_done_run_whose_states_were_deleted_has_nothing_to_resume(ledger: Ledger) -> None:
    run_id = ledger.done_run()
    delete_states(ledger)
    assert ledger.tell(runs.resume, run_id) == 0
    assert ledger.state(run_id) == "done"


def test_repairing_a_shard_of_a_done_run_touches_that_unit_alone(ledger: Ledger) -> None:
    run_id = ledger.done_run()
    attempts, scores = ledger.attempts(run_id), ledger.scores(run_id)
    damaged = ledger.keys("extract", run_id)[1]
    assert ledger.tell(runs.resume, run_id, {damaged}) == 1
    assert ledger.state(run_id) == "active"
    held = ledger.claim_next()
    assert held.content_key == damaged
    assert ledger.claim_next() is None
    assert ledger.finish(held)
    assert ledger.state(run_id) == "done"
    assert ledger.scores(run_id) == scores
    assert ledger.attempts(run_id) == attempts | {held.key: 2}


def test_repairing_scores_writes_their_rows_again_once(ledger: Ledger) -> None:
    run_id = ledger.done_run()
    scores = ledger.scores(run_id)
    ledger.tell(runs.resume, run_id, {ledger.keys("probe", run_id)[2]})
    assert len(ledger.scores(run_id)) == 30
    ledger.work()
    assert ledger.state(run_id) == "done"
    assert ledger.scores(run_id) == scores


def test_work_below_a_repaired_model_is_done_again_only_if_the_model_is_another(ledger: Ledger) -> None:
    run_id = ledger.done_run()
    attempts = ledger.attempts(run_id)
    (model,) = ledger.keys("train", run_id)
    for digest, again in ((model, {"model"}), ("another", set(attempts))):
        before = ledger.attempts(run_id)
        ledger.tell(runs.resume, run_id, {model})
        assert ledger.finish(ledger.claim_next(), digest=digest)
        ledger.work()
        assert ledger.state(run_id) == "done"
        assert ledger.attempts(run_id) == {key: count + (key in again) for key, count in before.items()}
    assert len(ledger.scores(run_id)) == 40


def test_units_below_a_shard_that_is_made_again_wait_for_it(ledger: Ledger) -> None:
    run_id = ledger.submit()
    ledger.fail(ledger.work(until="probe"))
    ledger.tell(runs.resume, run_id, set(ledger.keys("extract", run_id)[:1]))
    held = ledger.claim_next()
    assert held.stage == "extract"
    assert ledger.claim_next() is None
    ledger.finish(held)
    ledger.work()
    assert ledger.state(run_id) == "done"


def test_a_unit_that_hears_of_a_failure_after_the_resume_is_still_done(ledger: Ledger) -> None:
    run_id = ledger.submit()
    slow = ledger.work(until="extract")
    ledger.fail(ledger.claim_next())
    assert ledger.tell(units.heartbeat, slow, units.Report(), 60.0) == "cancelled"
    ledger.tell(runs.resume, run_id)
    ledger.tell(units.release, slow, "cancelled")
    ledger.work()
    assert ledger.state(run_id) == "done"


def test_failures_before_a_cancellation_do_not_count_after_the_resume(ledger: Ledger) -> None:
    run_id = ledger.submit()
    poisoned = ledger.work(until="extract").key
    ledger.tell(lambda session: session.execute(update(Unit).values(failures=2)))
    ledger.let_leases_end()
    ledger.tell(units.expire, 0.0)
    ledger.tell(runs.cancel, run_id)
    assert ledger.state(run_id) == "cancelled"
    ledger.tell(runs.resume, run_id)
    ledger.work()
    assert ledger.state(run_id) == "done"
    assert ledger.attempts(run_id)[poisoned] == 2


def test_checkpoints_are_wanted_until_their_unit_is_done(ledger: Ledger) -> None:
    run_id = ledger.submit()
    ledger.fail(ledger.work(until="extract"))
    assert ledger.ask(garbage.unfinished_keys) == set(ledger.keys("extract", run_id))
    assert ledger.ask(garbage.active_keys) == set()
    ledger.tell(runs.resume, run_id)
    assert ledger.ask(garbage.active_keys) == {
        *ledger.keys("train", run_id), *ledger.keys("extract", run_id),
    }  # fmt: skip


def test_the_oldest_attempt_in_work_says_how_old_a_workspace_may_be(ledger: Ledger) -> None:
    ledger.submit()
    assert ledger.ask(garbage.longest_attempt_s) == 0.0
    ledger.claim_next()
    ledger.tell(lambda session: session.execute(update(Unit).values(started_at=now() - 500.0)))
    assert 500.0 <= ledger.ask(garbage.longest_attempt_s) < 600.0
