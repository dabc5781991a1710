"""The ledger under everything that can happen to it, in random order, on SQLite and on PostgreSQL.

Messages are lost, doubled and late; workers die, hang, come back from the dead and are told to stop; people
cancel, resume and delete. After every step the invariants hold, and a unit obeys the one worker that holds it.
In the end honest workers take over, and no run has lost or doubled anything.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, func, select, update

from arith_shared.errors import UnreachableError, UserError
from arith_shared.ledger import invariants, plan, reconcile, runs, units, workers
from arith_shared.ledger.clock import now
from arith_shared.ledger.database import Database
from arith_shared.ledger.reconcile import Message
from arith_shared.ledger.tables import RUN_OVER, Artifact, Attempt, Base, Run, Score, Summary, Unit
from arith_shared.specs import Spec
from arith_shared.testing import RecordingSender, small_spec

TIMES = {"resend_s": 30.0, "retry_s": 0.0}
#: Seconds; leases end only when the machine says so.
LEASE_S = 3600.0
MAX_RUNS = 3
#: Far more rounds of honest work than any three runs need.
MAX_ROUNDS = 200

#: Picks one of whatever there is; taken modulo its number.
some = st.integers(0, 99)
queues = st.sampled_from(plan.QUEUES)


class LedgerMachine(RuleBasedStateMachine):
    """Keeps its own, much simpler account of who holds what, and compares."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database, self.sender = database, RecordingSender()
        self.specs: dict[str, Spec] = {}
        self.mail: list[Message] = []
        self.claims: list[units.Claim] = []
        self.holders: dict[int, units.Claim] = {}
        self.zombies: list[units.Claim] = []
        self.finishers: dict[int, units.Claim] = {}
        self.silent: set[int] = set()
        self.told_to_stop: list[units.Claim] = []
        #: Problems kept of a shard, by content key, as the content alone decides.
        self.kept: dict[str, int] = {}
        self.damaged: set[str] = set()
        self.published: set[str] = set()
        self.counted: Counter[int] = Counter()
        self.may_fail: set[str] = set()
        self.may_be_cancelled: set[str] = set()
        self.remade: set[str] = set()
        self.failing = self.training_wobbles = False
        with database.transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))
            self.ends = invariants.ends(session)

    # People

    @initialize(wobbles=st.booleans())
    def begin(self, wobbles: bool) -> None:
        self.training_wobbles = wobbles
        self.submit(seed=0, n_train=10, untrained=False)

    @precondition(lambda self: len(self.specs) < MAX_RUNS)
    @rule(seed=st.integers(0, 1), n_train=st.sampled_from([10, 20]), untrained=st.booleans())
    def submit(self, seed: int, n_train: int, untrained: bool) -> None:
        spec = small_spec(
            extract={"n_train": n_train, "n_eval": 5, "shard_problems": 5, "max_tries": 3.0},
            probe={"block_positions": 20, "untrained": untrained},
        ).model_copy(update={"seed": seed})
        with self.database.transaction() as session:
            run = runs.submit(session, spec, recipe="tiny", priority=seed)
        self.specs[run.id] = spec

    @rule(which=some)
    def cancel(self, which: int) -> None:
        run_id = self.a_run(which)
        was_active = self.state(run_id) == "active"
        with self.database.transaction() as session:
            assert runs.cancel(session, run_id) == was_active
        if was_active:
            self.may_be_cancelled.add(run_id)
            self.forget_silent(run_id)

    @precondition(lambda self: self.over)
    @rule(which=some, lost=st.sets(st.integers(0, 9), max_size=2))
    def resume(self, which: int, lost: set[int]) -> None:
        run_id = [*self.over, self.a_run(which)][which % (len(self.over) + 1)]
        done = [unit for unit in self.units(run_id) if unit.state == "done"]
        damaged = {done[index % len(done)].content_key for index in lost if done}
        was_over = self.state(run_id) in RUN_OVER
        try:
            with self.database.transaction() as session:
                runs.resume(session, run_id, damaged)
        except UserError:
            assert self.is_held(run_id)
            return
        self.forget_silent(run_id)
        if was_over:
            self.damaged |= damaged
            self.remade |= {run_id} if damaged else set()
            for unit in self.units(run_id):
                self.counted[unit.id] = 0

    @precondition(lambda self: len(self.specs) > 1)
    @rule(which=some)
    def delete(self, which: int) -> None:
        run_id = self.a_run(which)
        mine = {unit.id for unit in self.units(run_id)}
        try:
            with self.database.transaction() as session:
                runs.delete(session, run_id)
        except UserError:
            assert self.state(run_id) not in RUN_OVER or self.is_held(run_id)
            return
        del self.specs[run_id]
        # SQLite gives the numbers of deleted units to new ones; a zombie's owner token still tells them apart.
        for unit_id in mine:
            self.holders.pop(unit_id, None)
            self.finishers.pop(unit_id, None)
            self.silent.discard(unit_id)
            del self.counted[unit_id]

    # The reconciler and the broker

    @rule()
    def tick(self) -> None:
        reconcile.tick(self.database, self.sender, **TIMES)
        self.forget_silent()
        self.mail += self.sender.take()

    @rule(delivered=st.integers(0, 2))
    def tick_while_the_broker_fails(self, delivered: int) -> None:
        def send(message: Message) -> None:
            if len(self.sender.sent) == delivered:
                raise UnreachableError("broker gone")
            self.sender(message)

        reconcile.tick(self.database, send, **TIMES)
        self.forget_silent()
        self.mail += self.sender.take()

    @rule()
    def wait_for_an_answer_in_vain(self) -> None:
        with self.database.transaction() as session:
            session.execute(update(Unit).where(Unit.state == "queued").values(resend_at=now() - 1.0))

    @precondition(lambda self: self.mail)
    @rule(which=some)
    def lose_a_message(self, which: int) -> None:
        self.mail.pop(which % len(self.mail))

    @precondition(lambda self: self.mail)
    @rule(which=some, again=st.booleans())
    def deliver_a_message(self, which: int, again: bool) -> None:
        index = -1 - which % min(len(self.mail), 6)
        message = self.mail[index] if again else self.mail.pop(index)
        self.claim(message)

    # Workers

    @rule(most=st.integers(1, 3), again=st.booleans())
    def take_units(self, most: int, again: bool) -> None:
        """What a tick sends arrives at once, as it mostly does."""
        before = len(self.mail)
        self.tick()
        for message in self.mail[before:][:most]:
            self.claim(message)
            if not again:
                self.mail.remove(message)

    @rule(queue=queues, number=st.integers(0, 2))
    def a_worker_reports(self, queue: str, number: int) -> None:
        with self.database.transaction() as session:
            workers.report(session, f"{queue}-{number}", host="h", pid=1, queue=queue, version="0")

    @rule(queue=queues, number=st.integers(0, 2), drains=st.booleans())
    def a_worker_leaves(self, queue: str, number: int, drains: bool) -> None:
        with self.database.transaction() as session:
            (workers.retire if drains else workers.forget)(session, f"{queue}-{number}")

    @precondition(lambda self: self.claims)
    @rule(which=some)
    def heartbeat(self, which: int) -> None:
        held = self.a_claim(which)
        expected = "lost"
        if self.holds(held):
            expected = "alive" if self.state(held.run_id) == "active" else "cancelled"
        with self.database.transaction() as session:
            assert units.heartbeat(session, held, units.Report(1.0, 2.0), LEASE_S) == expected
        if expected == "alive":
            self.silent.discard(held.unit_id)
        elif expected == "cancelled":
            self.told_to_stop.append(held)

    @precondition(lambda self: self.claims)
    @rule(which=some, kept=st.integers(0, 5), reuse=st.booleans())
    def finish(self, which: int, kept: int, reuse: bool) -> None:
        self.do(self.a_claim(which), kept=kept, reuse=reuse)

    @precondition(lambda self: self.claims)
    @rule(which=some, permanent=st.booleans())
    def fail(self, which: int, permanent: bool) -> None:
        held = self.a_claim(which)
        with self.database.transaction() as session:
            given_back = units.fail(session, held, "boom", "trace", permanent=permanent, retry_s=0.0)
        assert given_back == self.holds(held)
        if given_back:
            self.let_go(held.unit_id, counts=True)
            self.may_fail |= {held.run_id} if permanent else set()

    @precondition(lambda self: self.claims)
    @rule(which=some)
    def drain(self, which: int) -> None:
        self.release(self.a_claim(which), "released")

    @precondition(lambda self: self.told_to_stop)
    @rule(which=some)
    def stop_as_told(self, which: int) -> None:
        self.release(self.told_to_stop.pop(which % len(self.told_to_stop)), "cancelled")

    @precondition(lambda self: self.holders)
    @rule(which=some)
    def fall_silent(self, which: int) -> None:
        unit_id = sorted(self.holders)[which % len(self.holders)]
        self.end_leases([unit_id])

    @rule(most=st.integers(1, 12))
    def honest_work(self, most: int) -> None:
        """Without it random steps would hardly ever see the last stages."""
        self.tick()
        while self.mail and most:
            held = self.claim(self.mail.pop(0))
            if held is not None:
                self.do(held)
                most -= 1

    # What holds after every step

    @invariant()
    def the_ledger_is_in_order(self) -> None:
        self.failing = True
        with self.database.reading() as session:
            assert invariants.violations(session) == []
            ends = invariants.ends(session)
            running = dict(session.execute(select(Unit.id, Unit.owner).where(Unit.state == "running")).all())
        assert invariants.undone(self.ends, ends) == []
        assert running == {unit_id: held.owner for unit_id, held in self.holders.items()}
        self.ends, self.failing = ends, False

    @property
    def over(self) -> list[str]:
        """Runs that were over when the last step ended."""
        return [run_id for run_id in self.specs if (run_id, "the run") in self.ends.states]

    def teardown(self) -> None:
        """Honest workers take over, unless a step has failed and is to be reported."""
        if self.failing:
            return
        self.end_leases(self.holders)
        for queue in plan.QUEUES:
            self.a_worker_reports(queue, 0)
            self.a_worker_reports(queue, 1)
        for _ in range(MAX_ROUNDS):
            if len(self.over) == len(self.specs):
                break
            self.wait_for_an_answer_in_vain()
            self.honest_work(1_000)
            self.the_ledger_is_in_order()
        for run_id, spec in self.specs.items():
            self.check_end(run_id, spec)
        with self.database.reading() as session:
            assert set(session.scalars(select(Artifact.path))) <= self.published

    def check_end(self, run_id: str, spec: Spec) -> None:
        with self.database.reading() as session:
            run = session.get_one(Run, run_id)
            cells = session.execute(
                select(Score.layer, Score.position, Score.family).where(Score.run_id == run_id)
            ).all()
            figures = session.scalar(
                select(func.count()).select_from(Summary).where(Summary.run_id == run_id)
            )
        if run.state == "cancelled":
            assert run_id in self.may_be_cancelled
        elif run.state == "failed":
            assert run_id in self.may_fail or "the LM solved" in str(run.error)
        else:
            assert run.state == "done"
            families = ["ridge", "ridge@untrained"][: 1 + spec.probe.untrained]
            wanted = {
                (layer, position, family) for layer in (0, 1) for position in range(20) for family in families
            }
            assert sorted(tuple(cell) for cell in cells) == sorted(wanted)
            assert figures == 1
            self.check_that_nothing_was_done_twice(run_id)

    def check_that_nothing_was_done_twice(self, run_id: str) -> None:
        done = Attempt.outcome.in_(("done", "reused"))
        with self.database.reading() as session:
            counts = session.execute(
                select(Unit.key, func.count())
                .join(Attempt, Attempt.unit_id == Unit.id)
                .where(Unit.run_id == run_id, done)
                .group_by(Unit.stage, Unit.key)
            ).all()
            total = session.scalar(select(func.count()).where(Unit.run_id == run_id))
        assert len(counts) == total
        if run_id not in self.remade:
            assert {count for _, count in counts} == {1}

    # The same for all

    def claim(self, message: Message) -> units.Claim | None:
        owner = f"owner{len(self.claims)}"
        with self.database.transaction() as session:
            held = units.claim(
                session, message.unit_id, message.attempt,
                owner=owner, worker_id="w", host="h", lease_s=LEASE_S,
            )  # fmt: skip
        if held is not None:
            assert held.unit_id not in self.holders
            self.claims.append(held)
            self.holders[held.unit_id] = held
        return held

    def do(self, held: units.Claim, *, kept: int = 5, reuse: bool = True) -> None:
        """Finish a unit, with the artifact that is there if `reuse`."""
        with self.database.reading() as session:
            there = session.get(Artifact, held.content_key)
        reused = reuse and there is not None and held.content_key not in self.damaged
        if reused:
            assert there is not None
            new = units.NewArtifact(there.key, there.kind, there.path, there.digest, 1, there.meta)
        else:
            new = self.make(held, kept)
        expected = self.holds(held) and self.state(held.run_id) == "active"
        with self.database.transaction() as session:
            finished = units.finish(session, held, new, rows_of(held), reused=reused)
        assert finished == (expected or self.has_done(held))
        if expected:
            self.let_go(held.unit_id)
            self.finishers[held.unit_id] = held
            self.published.add(new.path)
            self.damaged.discard(new.key)

    def make(self, held: units.Claim, kept: int) -> units.NewArtifact:
        key, meta = held.content_key, dict(held.payload)
        if held.stage == "extract":
            kept = self.kept.setdefault(key, kept)
            meta |= {"tried": held.payload["count"], "solved": kept, "kept": kept}
        # A device may round otherwise each time: then a model that is made again is another one.
        maker = held.owner if self.training_wobbles and held.stage == "train" else "anybody"
        digest = f"{key} as made by {maker}"
        return units.NewArtifact(key, held.stage, f"{held.stage}/{key}/{held.owner}", digest, 1, meta)

    def release(self, held: units.Claim, outcome: str) -> None:
        with self.database.transaction() as session:
            released = units.release(session, held, outcome)
        assert released == self.holds(held)
        if released:
            self.let_go(held.unit_id)

    def end_leases(self, unit_ids: Iterable[int]) -> None:
        self.silent |= set(unit_ids)
        with self.database.transaction() as session:
            session.execute(update(Unit).where(Unit.id.in_(self.silent)).values(lease_until=now() - 1.0))

    def forget_silent(self, run_id: str | None = None) -> None:
        """Somebody has just taken back what lost its lease."""
        for unit_id in sorted(self.silent):
            if run_id in (None, self.holders[unit_id].run_id):
                self.zombies.append(self.holders[unit_id])
                self.let_go(unit_id, counts=True)

    def let_go(self, unit_id: int, *, counts: bool = False) -> None:
        held = self.holders.pop(unit_id)
        self.silent.discard(unit_id)
        self.counted[unit_id] += counts
        if self.counted[unit_id] >= units.MAX_FAILURES:
            self.may_fail.add(held.run_id)

    def holds(self, held: units.Claim) -> bool:
        return self.holders.get(held.unit_id) is held

    def has_done(self, held: units.Claim) -> bool:
        """Whether this claim has finished its unit, and what it did still counts."""
        with self.database.reading() as session:
            state = session.scalar(select(Unit.state).where(Unit.id == held.unit_id))
        return self.finishers.get(held.unit_id) is held and state == "done"

    def is_held(self, run_id: str) -> bool:
        """Whether a worker that still gives signs of life holds a unit of the run."""
        return any(
            held.run_id == run_id for unit_id, held in self.holders.items() if unit_id not in self.silent
        )

    def a_claim(self, which: int) -> units.Claim:
        """One of the living, of those that lost their lease, or the latest whatever became of it."""
        candidates = [*self.holders.values(), *self.zombies[-2:], self.claims[-1]]
        return candidates[which % len(candidates)]

    def a_run(self, which: int) -> str:
        return list(self.specs)[which % len(self.specs)]

    def state(self, run_id: str) -> str | None:
        with self.database.reading() as session:
            return session.scalar(select(Run.state).where(Run.id == run_id))

    def units(self, run_id: str) -> list[Unit]:
        with self.database.reading() as session:
            return list(session.scalars(select(Unit).where(Unit.run_id == run_id).order_by(Unit.id)))


def rows_of(held: units.Claim) -> dict[str, list[dict[str, object]]]:
    if held.stage == "summarize":
        return {"summary": [{"name": "accuracy", "value": 1.0, "n": 10}]}
    if held.stage != "probe":
        return {}
    family = "ridge" if held.payload["weights"] == "trained" else "ridge@untrained"
    cell = {"token": "A", "variable": "A", "family": family, "metric": "pearson", "value": 0.5}
    facts = {"n_train": 10, "n_eval": 10, "given": False, "status": "ok", "layer": held.payload["layer"]}
    return {"scores": [{"position": position, **cell, **facts} for position in held.payload["positions"]]}


def explore(ledger: Database, **how: object) -> None:
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        lambda: LedgerMachine(ledger),
        settings=settings(deadline=None, suppress_health_check=quiet, **how),
    )


#: How many examples to try, new ones each time and longer than usual; unset = a few, always the same.
EXAMPLES = os.environ.get("ARITH_TEST_EXAMPLES")


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_no_order_of_events_breaks_an_invariant_or_loses_work(database: Database) -> None:
    if EXAMPLES:
        explore(database, max_examples=int(EXAMPLES), stateful_step_count=80)
    else:
        # The same examples every time: a change that breaks one is to blame for it.
        explore(database, max_examples=20, stateful_step_count=30, derandomize=True)
