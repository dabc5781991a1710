"""Short stories of what goes wrong, each with its end, on SQLite and on PostgreSQL.

The random machine finds orders that nobody thought of, but it seldom gets to the corners on purpose. Here each guard
of an update is leant on by somebody: a worker that comes back, a message of yesterday, a person in a hurry. After
every step the invariants hold, and who should change nothing changes no row of any table.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from arith_shared.errors import UserError
from arith_shared.ledger import garbage, invariants, plan, reconcile, runs, units
from arith_shared.ledger.clock import now
from arith_shared.ledger.database import Database
from arith_shared.ledger.reconcile import Message
from arith_shared.ledger.tables import Artifact, Attempt, Base, Run, Score, Stage, Unit
from arith_shared.testing import RecordingSender, fresh_database, small_spec

KINDS = {"train": "models", "extract": "states", "probe": "scores", "summarize": "summaries"}
#: Units of a run here: a model, two shards and one, two blocks, a summary.
UNITS = 7


class Story:
    """A ledger, and everybody who does something to it."""

    def __init__(self, database: Database) -> None:
        self.database, self.sender, self.owners = database, RecordingSender(), 0
        #: Messages that have been sent and not been looked at.
        self.mail: list[Message] = []
        with database.transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))

    def ask(self, question: Callable[[Session], Any]) -> Any:
        with self.database.reading() as session:
            return question(session)

    def tell(self, change: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Change something in a transaction; the invariants hold afterwards, and what was over still is."""
        before = self.ask(invariants.ends)
        with self.database.transaction() as session:
            answer = change(session, *arguments, **options)
        assert self.ask(invariants.violations) == []
        assert invariants.undone(before, self.ask(invariants.ends)) == []
        return answer

    @contextlib.contextmanager
    def nothing_changes(self) -> Iterator[None]:
        before = self.ask(everything)
        yield
        assert self.ask(everything) == before

    # People

    def submit(self, **groups: object) -> str:
        sizes = {"n_train": 10, "n_eval": 5, "shard_problems": 5}
        spec = small_spec(extract=sizes, **({"probe": {"block_positions": 20}} | groups))
        return self.tell(runs.submit, spec, recipe="tiny").id

    def done(self, **groups: object) -> str:
        """A run that is done."""
        run_id = self.submit(**groups)
        self.work()
        assert self.state(run_id) == "done"
        return run_id

    def resume(self, run_id: str, *damaged: str) -> int:
        return self.tell(runs.resume, run_id, set(damaged))

    # The reconciler

    def tick(self) -> list[Message]:
        reconcile.tick(self.database, self.sender, resend_s=30.0, retry_s=0.0)
        assert self.ask(invariants.violations) == []
        sent = self.sender.take()
        self.mail += sent
        return sent

    # Workers

    def claim(self, message: Message) -> units.Claim | None:
        self.owners += 1
        return self.tell(
            units.claim, message.unit_id, message.attempt,
            owner=f"owner{self.owners}", worker_id="w", host="h", lease_s=60.0,
        )  # fmt: skip

    def hold(self, stage: str) -> units.Claim:
        """The first unit of a stage that can be had, claimed, once all before it is done."""
        return self._work(until=stage)

    def work(self) -> None:
        """Do all there is, with what exists already where the content key is the same."""
        self._work(until="")

    def _work(self, until: str) -> Any:
        while self.mail or self.tick():
            held = self.claim(self.mail.pop(0))
            if held is not None and held.stage == until:
                return held
            if held is not None:
                assert self.finish(held, reused=self.is_kept(held.content_key))
        assert not until, f"no unit of {until} came up"
        return None

    def is_kept(self, key: str) -> bool:
        found = self.ask(lambda session: session.get(Artifact, key))
        return found is not None and found.deleted_at is None

    def finish(self, held: units.Claim, *, reused: bool = False, digest: str = "") -> bool:
        key, kind = held.content_key, KINDS[held.stage]
        meta = dict(held.payload) | {"tried": 5, "solved": 5, "kept": 5}
        path = f"{kind}/{key}/{held.owner}"
        if reused and (there := self.ask(lambda session: session.get(Artifact, key))):
            path = there.path
        new = units.NewArtifact(key, kind, path, digest or f"digest of {key}", 7, meta)
        return self.tell(units.finish, held, new, rows_of(held), reused=reused)

    def fail(self, held: units.Claim, *, permanent: bool = False, retry_s: float = 0.0) -> bool:
        return self.tell(units.fail, held, "boom", "trace", permanent=permanent, retry_s=retry_s)

    def heartbeat(self, held: units.Claim) -> units.Pulse:
        return self.tell(units.heartbeat, held, units.Report(1.0, 2.0), 60.0)

    def fall_silent(self, held: units.Claim) -> None:
        silent = update(Unit).where(Unit.id == held.unit_id).values(lease_until=now() - 1.0)
        self.tell(lambda session: session.execute(silent))

    # What is there

    def state(self, run_id: str) -> str:
        return self.ask(lambda session: session.get_one(Run, run_id).state)

    def unit(self, held: units.Claim) -> Unit:
        return self.ask(lambda session: session.get_one(Unit, held.unit_id))

    def stage(self, run_id: str, name: str) -> Stage:
        return self.ask(lambda session: session.get_one(Stage, (run_id, name)))

    def keys(self, run_id: str, stage: str) -> list[str]:
        query = select(Unit.content_key).where(Unit.run_id == run_id, Unit.stage == stage).order_by(Unit.id)
        return self.ask(lambda session: list(session.scalars(query)))

    def attempts(self, run_id: str) -> dict[str, int]:
        query = select(Unit.key, Unit.attempt).where(Unit.run_id == run_id)
        return self.ask(lambda session: dict(session.execute(query).all()))

    def outcomes(self, held: units.Claim) -> list[str | None]:
        query = select(Attempt.outcome).where(Attempt.unit_id == held.unit_id).order_by(Attempt.number)
        return self.ask(lambda session: list(session.scalars(query)))

    def cells(self, run_id: str) -> int:
        return self.ask(lambda s: s.scalar(select(func.count()).where(Score.run_id == run_id)))


def everything(session: Session) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    return {
        table.name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
        for table in Base.metadata.sorted_tables
    }


def rows_of(held: units.Claim) -> dict[str, list[dict[str, object]]]:
    if held.stage == "summarize":
        return {"summary": [{"name": "accuracy", "value": 1.0}]}
    if held.stage != "probe":
        return {}
    cell = {"token": "A", "variable": "A", "family": "ridge", "metric": "pearson", "value": 0.5}
    facts = {"n_train": 10, "n_eval": 5, "given": False, "status": "ok", "layer": held.payload["layer"]}
    return {"scores": [{"position": position, **cell, **facts} for position in held.payload["positions"]]}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all stories: a story empties it when it begins."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('stories') / 'arith.db'}"
    else:
        url = request.getfixturevalue("postgres").new_database()
    with contextlib.closing(fresh_database(url)) as database:
        yield database


@pytest.fixture
def story(shared: Database) -> Story:
    return Story(shared)


# -- messages ---------------------------------------------------------------------------------------------------


def test_a_message_is_answered_once(story: Story) -> None:
    story.submit()
    (message,) = story.tick()
    held = story.claim(message)
    with story.nothing_changes():
        assert story.claim(message) is None
    assert story.finish(held)
    with story.nothing_changes():
        assert story.claim(message) is None


def test_a_message_of_an_attempt_that_is_over_is_dropped_whatever_the_unit_waits_for(story: Story) -> None:
    story.submit()
    (message,) = story.tick()
    story.fail(story.claim(message), retry_s=1000.0)
    next_one = Message(message.unit_id, 2, message.queue)
    with story.nothing_changes():  # ready, and not to be done before its delay is over
        assert story.claim(message) is None
        assert story.claim(next_one) is None
        assert story.tick() == []
    story.tell(lambda session: session.execute(update(Unit).values(not_before=0.0)))
    assert story.tick() == [next_one]
    with story.nothing_changes():  # queued
        assert story.claim(message) is None
    assert story.claim(next_one) is not None


def test_a_message_that_comes_after_the_cancellation_is_dropped(story: Story) -> None:
    run_id = story.submit()
    (message,) = story.tick()
    story.tell(runs.cancel, run_id)
    assert story.state(run_id) == "cancelled"
    with story.nothing_changes():
        assert story.claim(message) is None


def test_a_message_of_a_deleted_run_is_dropped(story: Story) -> None:
    run_id = story.submit()
    (message,) = story.tick()
    story.tell(runs.cancel, run_id)
    story.tell(runs.delete, run_id)
    with story.nothing_changes():
        assert story.claim(message) is None


# -- workers that come back -------------------------------------------------------------------------------------


def try_all(story: Story, held: units.Claim) -> None:
    """Do everything that a worker does with a unit that is no longer its own; nothing may come of it."""
    with story.nothing_changes():
        assert story.heartbeat(held) == "lost"
        assert not story.fail(held)
        assert not story.fail(held, permanent=True)
        assert not story.tell(units.release, held, "released")
        assert not story.tell(units.release, held, "cancelled")


@pytest.mark.parametrize("stage", plan.STAGES)
def test_a_worker_that_lost_its_lease_changes_nothing(story: Story, stage: str) -> None:
    run_id = story.submit()
    zombie = story.hold(stage)
    story.fall_silent(zombie)
    (message,) = [message for message in story.tick() if message.unit_id == zombie.unit_id]
    assert message.attempt == 2
    try_all(story, zombie)  # while the unit waits,
    assert not story.finish(zombie)
    heir = story.claim(message)
    try_all(story, zombie)  # while somebody else has it,
    with story.nothing_changes():
        assert not story.finish(zombie)
    assert story.finish(heir)
    try_all(story, zombie)  # and when it is done.
    with story.nothing_changes():
        assert not story.finish(zombie)
    assert story.outcomes(zombie) == ["lost", "done"]
    story.work()
    assert (story.state(run_id), story.cells(run_id)) == ("done", 40)


@pytest.mark.parametrize("stage", plan.STAGES)
def test_a_worker_that_has_finished_may_say_so_again_and_nothing_else(story: Story, stage: str) -> None:
    story.submit()
    held = story.hold(stage)
    assert story.finish(held)
    with story.nothing_changes():
        assert story.finish(held)  # the answer to the first commit was lost
    try_all(story, held)


def test_a_worker_that_gave_its_unit_back_no_longer_has_it(story: Story) -> None:
    for give_back in (story.fail, lambda held: story.tell(units.release, held, "released")):
        story.submit()
        held = story.hold("extract")
        assert give_back(held)
        try_all(story, held)
        with story.nothing_changes():
            assert not story.finish(held)


def test_a_worker_of_a_deleted_run_cannot_touch_the_run_that_has_its_numbers_now(story: Story) -> None:
    run_id = story.submit()
    zombie = story.hold("train")
    story.fall_silent(zombie)
    story.tell(runs.cancel, run_id)
    story.tell(runs.delete, run_id)
    story.submit()
    # SQLite numbers the new units as the deleted ones; elsewhere nobody has the number.
    heir = story.hold("train")
    assert heir.attempt == zombie.attempt == 1
    try_all(story, zombie)
    with story.nothing_changes():
        assert not story.finish(zombie)
    assert story.finish(heir)


def test_a_lease_that_is_kept_is_not_taken(story: Story) -> None:
    story.submit()
    held = story.hold("extract")
    story.tick()
    with story.nothing_changes():
        assert story.tell(units.expire, 0.0) == []
        assert story.tick() == []
    story.fall_silent(held)
    assert story.heartbeat(held) == "alive"
    with story.nothing_changes():
        story.tick()


# -- failures ---------------------------------------------------------------------------------------------------


def test_a_unit_is_given_up_after_three_failures_of_any_kind_and_drains_are_none(story: Story) -> None:
    run_id = story.submit()
    held = story.hold("train")
    story.tell(units.release, held, "released")
    story.fail(story.hold("train"))
    story.tell(units.release, story.hold("train"), "released")
    silent = story.hold("train")
    story.fall_silent(silent)
    last = story.hold("train")
    assert (story.state(run_id), last.attempt) == ("active", 5)
    story.fail(last)
    assert story.state(run_id) == "failed"
    assert story.outcomes(held) == ["released", "failed", "released", "lost", "failed"]
    assert story.stage(run_id, "train").failed == 1


def test_a_failed_run_keeps_what_is_done_and_its_other_workers_only_stop(story: Story) -> None:
    run_id = story.submit()
    first = story.hold("extract")
    slow = story.hold("extract")
    queued = story.hold("extract")
    story.tell(units.release, queued, "released")
    story.fail(first, permanent=True)
    assert story.state(run_id) == "failed"
    assert story.unit(queued).state == "cancelled"
    with story.nothing_changes():
        assert story.heartbeat(slow) == "cancelled"
        assert not story.finish(slow)
        assert story.tick() == []
    story.fail(slow)
    assert story.unit(slow).state == "cancelled"
    assert (story.state(run_id), story.stage(run_id, "extract").failed) == ("failed", 1)
    assert story.stage(run_id, "train").state == "done"
    assert story.resume(run_id) == 3
    story.work()
    assert (story.state(run_id), story.cells(run_id)) == ("done", 40)


def test_a_lease_lost_in_a_failed_run_is_no_failure_of_its_unit(story: Story) -> None:
    run_id = story.submit()
    first, slow = story.hold("extract"), story.hold("extract")
    story.fail(first, permanent=True)
    story.fall_silent(slow)
    story.tick()
    assert (story.unit(slow).state, story.outcomes(slow)) == ("cancelled", ["lost"])
    assert story.stage(run_id, "extract").failed == 1


# -- people -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", plan.STAGES)
def test_a_cancelled_run_ends_when_its_last_worker_stops_and_resumes_where_it_was(
    story: Story, stage: str
) -> None:
    run_id = story.submit()
    held = story.hold(stage)
    assert story.tell(runs.cancel, run_id)
    assert story.state(run_id) == "cancelling"
    with story.nothing_changes():
        assert not story.tell(runs.cancel, run_id)
        assert story.resume(run_id) == 0
        assert story.heartbeat(held) == "cancelled"
        assert not story.finish(held)
        assert story.tick() == []
    assert story.tell(units.release, held, "cancelled")
    assert (story.state(run_id), story.outcomes(held)) == ("cancelled", ["cancelled"])
    done = {key for key, state in story.ask(states_of(run_id)).items() if state == "done"}
    story.resume(run_id)
    story.work()
    assert (story.state(run_id), story.cells(run_id)) == ("done", 40)
    assert {story.attempts(run_id)[key] for key in done} <= {1}


def states_of(run_id: str) -> Callable[[Session], dict[str, str]]:
    query = select(Unit.key, Unit.state).where(Unit.run_id == run_id)
    return lambda session: dict(session.execute(query).all())


@pytest.mark.parametrize("how", ["drain", "failure", "silence"])
def test_a_cancelled_run_ends_however_its_last_worker_stops(story: Story, how: str) -> None:
    run_id = story.submit()
    held = story.hold("extract")
    story.tell(runs.cancel, run_id)
    if how == "drain":
        story.tell(units.release, held, "released")
    elif how == "failure":
        story.fail(held)
    else:
        story.fall_silent(held)
        story.tick()
    assert (story.unit(held).state, story.state(run_id)) == ("cancelled", "cancelled")


def test_cancelling_one_run_leaves_the_silent_workers_of_another_alone(story: Story) -> None:
    story.submit()
    silent = story.hold("train")
    other = story.submit(probe={"block_positions": 20, "threshold": 0.5})
    story.fall_silent(silent)
    story.tell(runs.cancel, other)
    assert story.unit(silent).state == "running"
    assert story.heartbeat(silent) == "alive"


def test_what_is_over_is_not_cancelled_and_what_is_done_or_active_not_resumed(story: Story) -> None:
    done, active = story.done(), story.submit()
    with story.nothing_changes():
        assert not story.tell(runs.cancel, done)
        assert story.resume(active) == 0
    before = story.attempts(done)
    assert story.resume(done) == 0
    assert (story.state(done), story.attempts(done)) == ("done", before)


def test_resuming_gives_a_unit_a_fresh_start(story: Story) -> None:
    run_id = story.submit()
    for _ in range(2):
        story.fail(story.hold("train"), retry_s=1e6)
        story.tell(lambda session: session.execute(update(Unit).values(not_before=0.0)))
    held = story.hold("train")
    story.fail(held, retry_s=1e6)
    story.tell(lambda session: session.execute(update(Unit).values(not_before=now() + 1e6, sends=9)))
    assert story.resume(run_id) == 1
    (message,) = story.tick()
    assert (message.attempt, story.unit(held).sends, story.unit(held).failures) == (4, 1, 0)
    story.fail(story.claim(message))
    assert story.state(run_id) == "active"


def test_what_feeds_a_unit_that_is_held_is_not_made_again_under_its_hands(story: Story) -> None:
    run_id = story.submit()
    first, slow = story.hold("extract"), story.hold("extract")
    story.fail(first, permanent=True)
    (model,) = story.keys(run_id, "train")
    with story.nothing_changes(), pytest.raises(UserError, match="still holds a unit"):
        story.resume(run_id, model)
    with story.nothing_changes(), pytest.raises(UserError, match="still holds a unit"):
        story.tell(runs.delete, run_id)
    story.tell(units.release, slow, "cancelled")
    assert story.resume(run_id, model) == 4
    story.work()
    assert story.state(run_id) == "done"


# -- reuse and repair -------------------------------------------------------------------------------------------


def test_a_run_that_reuses_everything_counts_what_it_reused_and_what_it_repaired(story: Story) -> None:
    story.done()
    twin = story.done()
    names = [(name, story.stage(twin, name)) for name in plan.STAGES]
    assert [(name, stage.total, stage.reused) for name, stage in names] == [
        ("train", 1, 1), ("extract", 3, 3), ("probe", 2, 2), ("summarize", 1, 1),
    ]  # fmt: skip
    damaged = story.keys(twin, "probe")[0]
    assert story.resume(twin, damaged) == 1
    # Its rows are gone until they are made again.
    assert (story.cells(twin), story.stage(twin, "probe").reused) == (20, 1)
    held = story.hold("probe")
    assert (held.content_key, held.attempt) == (damaged, 2)
    assert story.finish(held)
    story.work()
    assert story.state(twin) == "done"
    stage = story.stage(twin, "probe")
    assert (stage.done, stage.reused, story.cells(twin)) == (2, 1, 40)


def test_a_repaired_summary_has_its_rows_once(story: Story) -> None:
    run_id = story.done()
    assert story.resume(run_id, *story.keys(run_id, "summarize")) == 1
    assert story.ask(lambda s: invariants.violations(s)) == []
    held = story.hold("summarize")
    assert story.finish(held)
    assert (story.state(run_id), story.attempts(run_id)["summary"]) == ("done", 2)


def test_what_is_reused_must_still_be_there_under_the_path_that_was_read(story: Story) -> None:
    story.done()
    story.submit()
    held = story.hold("extract")
    spare = story.ask(lambda session: session.get(Artifact, held.content_key))
    other = units.NewArtifact(spare.key, spare.kind, "states/other/token", "d", 7, spare.meta)
    with story.nothing_changes():
        assert not story.tell(units.finish, held, other, {}, reused=True)
    gone = update(Artifact).where(Artifact.key == spare.key).values(deleted_at=now())
    story.tell(lambda session: session.execute(gone))
    with story.nothing_changes():
        assert not story.finish(held, reused=True)
    assert story.finish(held)
    assert story.is_kept(spare.key)


def test_another_model_gives_everything_below_it_another_key(story: Story) -> None:
    run_id = story.done()
    below = [key for stage in plan.STAGES[1:] for key in story.keys(run_id, stage)]
    story.resume(run_id, *story.keys(run_id, "train"))
    assert story.finish(story.hold("train"), digest="another")
    story.work()
    assert (story.state(run_id), story.cells(run_id)) == ("done", 40)
    now_below = [key for stage in plan.STAGES[1:] for key in story.keys(run_id, stage)]
    assert len(now_below) == len(below) == UNITS - 1
    assert not set(now_below) & set(below)
    assert set(story.attempts(run_id).values()) == {2}


def test_the_same_model_again_leaves_everything_below_it_alone(story: Story) -> None:
    run_id = story.done()
    story.resume(run_id, *story.keys(run_id, "train"))
    assert story.finish(story.hold("train"))
    assert story.state(run_id) == "done"
    assert sum(story.attempts(run_id).values()) == UNITS + 1


# -- garbage ----------------------------------------------------------------------------------------------------


def test_states_that_a_resumed_run_has_read_are_not_those_that_were_found_spare(story: Story) -> None:
    run_id = story.submit()
    story.fail(story.hold("probe"), permanent=True)
    spares = story.ask(garbage.spare_states)
    assert len(spares) == 3
    story.resume(run_id)
    with story.nothing_changes():
        assert not any(story.tell(garbage.mark_deleted, spare) for spare in spares)
    story.work()
    assert story.state(run_id) == "done"
    with story.nothing_changes():  # Over again, but used since they were found.
        assert not any(story.tell(garbage.mark_deleted, spare) for spare in spares)


def test_an_artifact_that_was_used_since_it_was_found_is_not_forgotten(story: Story) -> None:
    story.tell(runs.delete, story.done())
    spares = story.ask(garbage.unreferenced)
    assert len(spares) == UNITS
    story.tell(runs.delete, story.done())
    with story.nothing_changes():
        assert not any(story.tell(garbage.forget, spare) for spare in spares)
    assert all(story.tell(garbage.forget, spare) for spare in story.ask(garbage.unreferenced))


def test_only_hidden_states_are_spare(story: Story) -> None:
    run_id = story.done()
    assert {spare.key for spare in story.ask(garbage.spare_states)} == set(story.keys(run_id, "extract"))
    model = story.ask(lambda session: session.get(Artifact, story.keys(run_id, "train")[0]))
    spare = garbage.Spare(model.key, model.path, model.size_bytes, model.used_at)
    with story.nothing_changes():
        assert not story.tell(garbage.mark_deleted, spare)


def test_what_a_new_run_wants_is_neither_forgotten_nor_spare(story: Story) -> None:
    story.tell(runs.delete, story.done())
    model = next(spare for spare in story.ask(garbage.unreferenced) if spare.path.startswith("models/"))
    story.submit()
    with story.nothing_changes():
        assert not story.tell(garbage.forget, model)


def test_states_wanted_by_a_run_that_is_not_over_are_not_spare(story: Story) -> None:
    run_id = story.submit()
    story.hold("probe")
    assert story.ask(garbage.spare_states) == []
    story.tell(runs.cancel, run_id)
    assert story.state(run_id) == "cancelling"
    assert story.ask(garbage.spare_states) == []


# -- two at once (PostgreSQL; on SQLite nobody can come between) --------------------------------------------------


@pytest.mark.parametrize("saved_by", ["a heartbeat", "its end"])
def test_a_unit_that_is_saved_while_the_reconciler_waits_for_its_stage_is_not_taken(
    story: Story, saved_by: str
) -> None:
    if story.database.is_sqlite:
        pytest.skip("SQLite lets one writer in at a time")
    run_id = story.submit()
    held = story.hold("extract")
    story.fall_silent(held)
    expired: list[int] = []

    def expire() -> None:
        with story.database.transaction() as session:
            expired.extend(units.expire(session, 0.0))

    with story.database.transaction() as session:
        plan.lock_stage(session, run_id, "extract")
        reconciler = threading.Thread(target=expire)
        reconciler.start()
        wait_until_somebody_waits(story)
        if saved_by == "a heartbeat":
            with story.database.transaction() as other:
                assert units.heartbeat(other, held, units.Report(), 60.0) == "alive"
        else:
            key = held.content_key
            meta = dict(held.payload) | {"tried": 5, "solved": 5, "kept": 5}
            new = units.NewArtifact(key, "states", f"states/{key}/x", "d", 7, meta)
            assert units.finish(session, held, new, {})
    reconciler.join()
    assert expired == []
    assert story.ask(invariants.violations) == []
    assert story.outcomes(held) == ([None] if saved_by == "a heartbeat" else ["done"])


def wait_until_somebody_waits(story: Story) -> None:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    for _ in range(1000):
        if story.ask(lambda session: session.scalar(waiting)):
            return
        threading.Event().wait(0.02)
    raise AssertionError("nobody waits for a lock")
