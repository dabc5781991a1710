"""What the ledger promises, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from arith_shared.errors import RunNotFoundError
from arith_shared.ledger import plan, reconcile, runs, units, views, workers
from arith_shared.ledger.clock import now
from arith_shared.ledger.database import Database
from arith_shared.ledger.reconcile import Message
from arith_shared.ledger.tables import Artifact, Attempt, Run, Score, Stage, Unit
from arith_shared.testing import RecordingSender, small_spec

TIMES = {"resend_s": 30.0, "retry_s": 0.0}


class Ledger:
    """A ledger with a recording broker and workers that succeed at once."""

    def __init__(self, database: Database) -> None:
        self.database, self.sender = database, RecordingSender()

    def submit(self, recipe: str = "tiny", priority: int = 0, **groups: object) -> str:
        with self.database.transaction() as session:
            return runs.submit(session, small_spec(**groups), recipe=recipe, priority=priority).id

    def tick(self) -> list[Message]:
        reconcile.tick(self.database, self.sender, **TIMES)
        return self.sender.take()

    def claim(self, message: Message) -> units.Claim | None:
        with self.database.transaction() as session:
            return units.claim(
                session,
                message.unit_id,
                message.attempt,
                owner=uuid.uuid4().hex,
                worker_id="w1",
                host="h1",
                lease_s=60.0,
            )

    def finish(self, held: units.Claim, kept: int | None = None) -> bool:
        meta = dict(held.payload)
        if held.stage == "extract":
            count = held.payload["count"]
            meta |= {"tried": count, "solved": count, "kept": count if kept is None else kept}
        key = held.content_key
        artifact = units.NewArtifact(key, "kind", f"kind/{key}/{held.owner}", f"digest of {key}", 1, meta)
        rows = {"scores": _scores(held)} if held.stage == "probe" else {}
        with self.database.transaction() as session:
            return units.finish(session, held, artifact, rows)

    def fail(self, held: units.Claim, message: str = "boom", permanent: bool = False) -> bool:
        with self.database.transaction() as session:
            return units.fail(session, held, message, "trace", permanent=permanent, retry_s=0.0)

    def first(self) -> units.Claim:
        """Claim the first unit that a tick sends."""
        held = self.claim(self.tick()[0])
        assert held is not None
        return held

    def work(self, stage: str | None = None) -> None:
        """Do all that is sent until nothing is, or until a unit of `stage` comes up."""
        while messages := self.tick():
            for message in messages:
                with self.database.reading() as session:
                    unit = session.get_one(Unit, message.unit_id)
                if unit.stage == stage:
                    self.unsend(message)
                    continue
                held = self.claim(message)
                assert held is not None
                assert self.finish(held)
            if self.stage_is_open(stage):
                return

    def unsend(self, message: Message) -> None:
        with self.database.transaction() as session:
            session.execute(update(Unit).where(Unit.id == message.unit_id).values(state="ready"))

    def stage_is_open(self, name: str | None) -> bool:
        with self.database.reading() as session:
            return bool(session.scalar(select(Stage.name).where(Stage.name == name, Stage.state == "open")))

    def state(self, run_id: str) -> str:
        with self.database.reading() as session:
            return session.get_one(Run, run_id).state

    def unit(self, unit_id: int) -> Unit:
        with self.database.reading() as session:
            return session.get_one(Unit, unit_id)


def _scores(held: units.Claim) -> Sequence[dict[str, object]]:
    cell = {"token": "A", "variable": "A", "family": "ridge", "metric": "pearson", "value": 0.5}
    facts = {"n_train": 20, "n_eval": 10, "given": False, "status": "ok"}
    layer = held.payload["layer"]
    return [{"layer": layer, "position": p, **cell, **facts} for p in held.payload["positions"]]


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def test_a_run_goes_through_all_stages_and_ends_done(ledger: Ledger) -> None:
    run_id = ledger.submit()
    ledger.work()
    assert ledger.state(run_id) == "done"
    with ledger.database.reading() as session:
        stages = session.execute(select(Stage.name, Stage.state, Stage.done).order_by(Stage.ordinal)).all()
        scores = session.scalar(select(func.count()).select_from(Score))
    assert [tuple(row) for row in stages] == [
        ("train", "done", 1),
        ("extract", "done", 3),
        ("probe", "done", 4),
        ("summarize", "done", 1),
    ]
    assert scores == 2 * 20  # layers x positions, one variable and family in this double


def test_a_message_that_comes_twice_is_claimed_once(ledger: Ledger) -> None:
    ledger.submit()
    (message,) = ledger.tick()
    assert ledger.claim(message) is not None
    assert ledger.claim(message) is None


def test_a_message_of_an_earlier_attempt_is_dropped(ledger: Ledger) -> None:
    ledger.submit()
    (old,) = ledger.tick()
    held = ledger.claim(old)
    assert held is not None
    ledger.fail(held)
    (new,) = ledger.tick()
    assert new.attempt == old.attempt + 1
    assert ledger.claim(old) is None
    assert ledger.claim(new) is not None


def test_of_ten_concurrent_claims_one_wins(ledger: Ledger) -> None:
    ledger.submit()
    (message,) = ledger.tick()
    won: list[units.Claim | None] = []
    threads = [threading.Thread(target=lambda: won.append(ledger.claim(message))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 10
    assert sum(held is not None for held in won) == 1


def test_a_worker_that_lost_its_lease_can_neither_extend_nor_finish(ledger: Ledger) -> None:
    ledger.submit()
    held = ledger.first()
    _expire_leases(ledger)
    (message,) = ledger.tick()
    successor = ledger.claim(message)
    assert successor is not None
    with ledger.database.transaction() as session:
        assert units.heartbeat(session, held, units.Report(), 60.0) == "lost"
    assert not ledger.finish(held)
    assert ledger.unit(held.unit_id).owner == successor.owner
    assert ledger.finish(successor)
    with ledger.database.reading() as session:
        artifact = session.get_one(Artifact, held.content_key)
        outcomes = session.scalars(select(Attempt.outcome).order_by(Attempt.number)).all()
    assert artifact.path.endswith(successor.owner)
    assert outcomes[:2] == ["lost", "done"]


def test_heartbeats_carry_progress_and_hear_of_cancellation(ledger: Ledger) -> None:
    run_id = ledger.submit()
    held = ledger.first()
    with ledger.database.transaction() as session:
        report = units.Report(3.0, 10.0, "steps", "loss 0.5")
        assert units.heartbeat(session, held, report, 60.0) == "alive"
    unit = ledger.unit(held.unit_id)
    assert (unit.progress_done, unit.progress_total, unit.progress_note) == (3.0, 10.0, "loss 0.5")
    with ledger.database.transaction() as session:
        assert runs.cancel(session, run_id)
    with ledger.database.transaction() as session:
        assert units.heartbeat(session, held, report, 60.0) == "cancelled"
        assert units.release(session, held, "cancelled")
    assert ledger.state(run_id) == "cancelled"


def test_a_unit_that_kills_three_workers_fails_its_run_and_spares_the_others(ledger: Ledger) -> None:
    poisoned, healthy = ledger.submit("poisoned"), ledger.submit("healthy")
    for _ in range(3):
        for message in ledger.tick():
            held = ledger.claim(message)
            if held is not None and held.run_id == healthy:
                ledger.finish(held)
        _expire_leases(ledger, run_id=poisoned)
    ledger.work()
    assert ledger.state(poisoned) == "failed"
    assert ledger.state(healthy) == "done"
    with ledger.database.reading() as session:
        assert "stopped reporting" in str(session.get_one(Run, poisoned).error)


def test_a_users_error_fails_the_run_at_once(ledger: Ledger) -> None:
    run_id = ledger.submit()
    ledger.fail(ledger.first(), "the spec is impossible", permanent=True)
    with ledger.database.reading() as session:
        run = session.get_one(Run, run_id)
    assert run.state == "failed"
    assert run.error == "the spec is impossible (train unit model, attempt 1 on h1)"
    assert ledger.tick() == []


def test_resume_redoes_what_is_missing_and_nothing_else(ledger: Ledger) -> None:
    run_id = ledger.submit()
    ledger.work(stage="extract")
    messages = ledger.tick()
    first, second = (ledger.claim(message) for message in messages[:2])
    assert first is not None
    assert second is not None
    ledger.finish(first)
    ledger.fail(second, permanent=True)
    assert ledger.state(run_id) == "failed"
    with ledger.database.transaction() as session:
        again = runs.resume(session, run_id)
    assert again == 2  # the failed shard and the one that had not started
    ledger.work()
    assert ledger.state(run_id) == "done"
    with ledger.database.reading() as session:
        trained = session.scalar(select(func.count()).select_from(Attempt).where(Attempt.unit_id == 1))
    assert trained == 1


def test_a_drained_unit_is_not_counted_as_a_failure(ledger: Ledger) -> None:
    ledger.submit()
    held = ledger.first()
    with ledger.database.transaction() as session:
        assert units.release(session, held, "released")
    unit = ledger.unit(held.unit_id)
    assert (unit.state, unit.attempt, unit.failures) == ("ready", 2, 0)


def test_an_unanswered_message_is_sent_again_with_doubling_delay(ledger: Ledger) -> None:
    ledger.submit()
    (message,) = ledger.tick()
    assert ledger.tick() == []
    _make_resend_due(ledger)
    assert ledger.tick() == [message]
    unit = ledger.unit(message.unit_id)
    with ledger.database.reading() as session:
        wait = session.scalar(select(Unit.resend_at - now()).where(Unit.id == unit.id))
    assert wait == pytest.approx(2 * TIMES["resend_s"], abs=5)


def test_a_broker_that_does_not_answer_costs_delay_and_no_unit(ledger: Ledger) -> None:
    from arith_shared.errors import UnreachableError

    def refuse(message: Message) -> None:
        raise UnreachableError("broker gone")

    run_id = ledger.submit()
    reconcile.tick(ledger.database, refuse, **TIMES)
    _make_resend_due(ledger)
    ledger.work()
    assert ledger.state(run_id) == "done"


def test_too_few_solved_problems_add_shards_and_the_cap_fails_with_a_remedy(ledger: Ledger) -> None:
    run_id = ledger.submit(extract={"max_tries": 2.0})
    ledger.work(stage="extract")
    while messages := ledger.tick():
        for message in messages:
            held = ledger.claim(message)
            assert held is not None
            ledger.finish(held, kept=1)
    with ledger.database.reading() as session:
        run = session.get_one(Run, run_id)
        shards = session.scalars(select(Unit.key).where(Unit.stage == "extract").order_by(Unit.key)).all()
    assert run.state == "failed"
    assert "the LM solved" in str(run.error)
    assert "extract.max_tries" in str(run.error)
    # 20 wanted, 10 a shard: 2 planned; then 18 are missing, and at best half of those tried can be counted on.
    assert shards == [
        f"trained/{s}/{n:05d}" for s, count in (("probe", 6), ("test", 3)) for n in range(count)
    ]


def test_the_last_two_units_of_a_stage_finishing_at_once_close_it_once(ledger: Ledger) -> None:
    run_id = ledger.submit()
    ledger.work(stage="probe")
    with ledger.database.transaction() as session:
        workers.report(session, "w1", host="h", pid=1, queue="probe", version="0")
        workers.report(session, "w2", host="h", pid=2, queue="probe", version="0")
    held = [claim for message in ledger.tick() if (claim := ledger.claim(message)) is not None]
    assert len(held) == 4
    barrier = threading.Barrier(len(held))

    def finish(mine: units.Claim) -> None:
        barrier.wait()
        assert ledger.finish(mine)

    threads = [threading.Thread(target=finish, args=(mine,)) for mine in held]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.database.reading() as session:
        stages = dict(session.execute(select(Stage.name, Stage.state).where(Stage.run_id == run_id)).all())
        summaries = session.scalar(select(func.count()).where(Unit.stage == "summarize"))
    assert stages["probe"] == "done"
    assert stages["summarize"] == "open"
    assert summaries == 1


def test_a_small_run_is_not_starved_by_a_large_one(ledger: Ledger) -> None:
    ledger.submit("large", extract={"n_train": 1_000})
    ledger.submit("small")
    for message in ledger.tick():
        held = ledger.claim(message)
        assert held is not None
        ledger.finish(held)
    while True:
        messages = ledger.tick()
        names = {ledger.unit(message.unit_id).run_id.split("-")[0] for message in messages}
        if len(messages) == 2:
            break
        for message in messages:
            held = ledger.claim(message)
            assert held is not None
            ledger.finish(held)
    assert names == {"large", "small"}


def test_runs_are_found_by_unique_prefix_and_by_last(ledger: Ledger) -> None:
    first, second = ledger.submit("one"), ledger.submit("two")
    with ledger.database.reading() as session:
        assert runs.find(session, "one").id == first
        assert runs.find(session, second[:-1]).id == second
        assert runs.find(session, "last").id == second
        with pytest.raises(RunNotFoundError, match="no run is called 'three'"):
            runs.find(session, "three")
        with pytest.raises(RunNotFoundError, match="could be any of 2 runs"):
            runs.find(session, "")


def test_the_view_of_a_run_counts_units_and_running_progress(ledger: Ledger) -> None:
    run_id = ledger.submit()
    held = ledger.first()
    with ledger.database.transaction() as session:
        units.heartbeat(session, held, units.Report(25.0, 100.0, "steps", "loss 1", rate=3.0), 60.0)
    with ledger.database.reading() as session:
        view = views.run_view(session, run_id)
    train = view.stages[0]
    assert (train.state, train.running, train.fraction, train.note) == ("open", 1, 0.25, "loss 1")
    assert (train.rate, train.eta_s) == (3.0, 25.0)
    assert [stage.state for stage in view.stages[1:]] == ["waiting"] * 3


def test_the_eta_of_many_units_follows_from_those_that_are_finished_whatever_pauses_lie_between(
    ledger: Ledger,
) -> None:
    run_id = ledger.submit()
    ledger.work("extract")
    with ledger.database.transaction() as session:
        session.execute(update(Stage).where(Stage.name == "extract").values(opened_at=now() - 1e6))
    first, *others = [held for message in ledger.tick() if (held := ledger.claim(message))]
    assert ledger.finish(first)
    with ledger.database.transaction() as session:
        session.execute(update(Unit).where(Unit.id == first.unit_id).values(started_at=0.0, ended_at=40.0))
        view = views.run_view(session, run_id)
    extract = view.stages[1]
    assert extract.done == 1
    assert extract.running == len(others) > 0
    assert extract.eta_s == pytest.approx(40.0 * (extract.total - 1) / len(others))


def _expire_leases(ledger: Ledger, run_id: str | None = None) -> None:
    query = update(Unit).where(Unit.state == "running").values(lease_until=now() - 1.0)
    with ledger.database.transaction() as session:
        session.execute(query.where(Unit.run_id == run_id) if run_id else query)


def _make_resend_due(ledger: Ledger) -> None:
    with ledger.database.transaction() as session:
        session.execute(update(Unit).where(Unit.state == "queued").values(resend_at=now() - 1.0))


def test_every_stage_has_a_queue(tmp_path: Path) -> None:
    assert set(plan.QUEUE_OF) == set(plan.STAGES)
    assert set(plan.QUEUE_OF.values()) == set(plan.QUEUES)


def test_the_queues_with_work_are_those_of_units_that_are_ready_sent_or_running(database):
    ledger = Ledger(database)

    def queues() -> set[str]:
        with database.reading() as session:
            return views.queues_with_work(session)

    assert queues() == set()
    ledger.submit()
    assert queues() == {"train"}
    held = ledger.first()
    assert queues() == {"train"}
    assert ledger.finish(held)
    assert queues() == {"extract"}
    ledger.work(stage="probe")
    assert queues() == {"probe"}
    ledger.work()
    assert queues() == set()
