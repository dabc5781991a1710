"""The lease keeps a unit while its handler works, and ends the work when the unit is no longer ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, update

from arith_shared import lease as lease_module
from arith_shared import logs
from arith_shared.errors import CancelledError, DrainError, InterruptedUnitError, LeaseLostError
from arith_shared.lease import Lease
from arith_shared.ledger import reconcile, runs, units
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import Attempt, Unit
from arith_shared.testing import RecordingSender, fresh_database, small_spec
from arith_shared.vitals import Vitals


@pytest.fixture
def database(tmp_path: Path):
    ledger = fresh_database(f"sqlite:///{tmp_path / 'arith.db'}")
    yield ledger
    ledger.close()


@pytest.fixture
def held(database: Database) -> units.Claim:
    """The claim of a run's first unit."""
    sender = RecordingSender()
    with database.transaction() as session:
        runs.submit(session, small_spec(), recipe="tiny")
    reconcile.tick(database, sender, resend_s=60.0, retry_s=0.0)
    (message,) = sender.take()
    with database.transaction() as session:
        claim = units.claim(
            session, message.unit_id, message.attempt, owner="o", worker_id="w", host="h", lease_s=60.0
        )
    assert claim is not None
    return claim


@pytest.fixture
def keep(database, held, tmp_path) -> Callable[..., Lease]:
    def make(lease_s: float = 60.0, heartbeat_s: float = 0.02) -> Lease:
        flag = tmp_path / "drain"
        return Lease(database, held, heartbeat_s=heartbeat_s, lease_s=lease_s, drain_flag=flag)

    return make


def unit_of(database: Database, held: units.Claim) -> Unit:
    with database.reading() as session:
        return session.scalars(select(Unit).where(Unit.id == held.unit_id)).one()


def attempt_of(database: Database, held: units.Claim) -> Attempt:
    with database.reading() as session:
        return session.get_one(Attempt, (held.unit_id, held.attempt))


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that another thread brings about."""
    give_up = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.01)


def work_until_stopped(lease: Lease) -> None:
    """A handler that reports for ever; only a reason to stop ends it."""

    def report() -> bool:
        lease(1, 10, "steps")
        return False

    until(report)


def test_a_heartbeat_extends_the_lease_and_carries_the_progress(database, held, keep):
    with database.transaction() as session:
        session.execute(update(Unit).values(lease_until=1.0))
    with keep() as lease:
        lease(3, 10, "steps", "loss 0.5")
        until(lambda: unit_of(database, held).progress_done == 3)
    unit = unit_of(database, held)
    assert unit.lease_until > time.time() + 30
    assert (unit.progress_total, unit.progress_unit, unit.progress_note) == (10, "steps", "loss 0.5")


def test_nothing_beats_after_the_end(database, held, keep):
    with keep() as lease:
        lease(1, 10, "steps")
    with database.transaction() as session:
        session.execute(update(Unit).values(lease_until=1.0))
    lease(2, 10, "steps")
    time.sleep(0.1)
    assert unit_of(database, held).lease_until == 1.0


def test_an_error_of_the_handler_passes_through(keep):
    with pytest.raises(KeyError), keep():
        raise KeyError


def test_a_drain_flag_stops_the_handler_and_the_unit_stays_ours_to_hand_back(database, held, keep, tmp_path):
    with keep() as lease:
        (tmp_path / "drain").touch()
        with pytest.raises(DrainError, match="shutting down"):
            work_until_stopped(lease)
    assert unit_of(database, held).owner == "o"
    with database.transaction() as session:
        assert units.release(session, held, "released")


def test_while_a_handler_saves_its_work_after_a_drain_the_lease_goes_on(database, held, keep, tmp_path):
    (tmp_path / "drain").touch()
    with keep() as lease:
        with pytest.raises(DrainError):
            work_until_stopped(lease)
        with database.transaction() as session:
            session.execute(update(Unit).values(lease_until=1.0))
        until(lambda: unit_of(database, held).lease_until > 1.0)


def test_a_cancelled_run_stops_the_handler(database, held, keep):
    with keep() as lease:
        with database.transaction() as session:
            assert runs.cancel(session, held.run_id)
        with pytest.raises(CancelledError, match="the run was cancelled"):
            work_until_stopped(lease)


def test_a_unit_that_another_worker_owns_stops_the_handler(database, held, keep):
    with keep() as lease:
        with database.transaction() as session:
            session.execute(update(Unit).values(attempt=Unit.attempt + 1, owner="other"))
        with pytest.raises(LeaseLostError, match="another worker"):
            work_until_stopped(lease)
    assert unit_of(database, held).owner == "other"


def break_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on every transaction fails as it does without a database."""
    database.close()
    monkeypatch.setattr(database, "engine", Database("sqlite:////proc/nosuch.db").engine)


def test_a_database_that_is_away_for_a_lease_stops_the_handler(database, keep, monkeypatch):
    with keep(lease_s=0.2) as lease:
        break_database(database, monkeypatch)
        with pytest.raises(LeaseLostError, match=r"no heartbeat reached the database for 0\.2 s"):
            work_until_stopped(lease)


def test_a_database_that_is_away_for_less_than_a_lease_is_no_reason_to_stop(
    database, held, keep, monkeypatch
):
    with keep() as lease:
        with monkeypatch.context() as patch:
            break_database(database, patch)
            time.sleep(0.1)
            lease(1, 10, "steps")
        lease(4, 10, "steps")
        until(lambda: unit_of(database, held).progress_done == 4)


def test_a_handler_that_does_not_listen_is_ended_with_its_process(database, held, keep, monkeypatch):
    ended: list[int] = []

    def end(status: int) -> None:
        ended.append(status)
        lease._over.set()

    monkeypatch.setattr(lease_module, "STOP_WITHIN_S", 0.05)
    monkeypatch.setattr(lease_module.os, "_exit", end)
    with keep() as lease:
        with database.transaction() as session:
            runs.cancel(session, held.run_id)
        until(lambda: bool(ended))
    assert ended == [lease_module.EXIT_FENCED]


def test_heartbeats_carry_what_this_attempt_used(database, held, keep, monkeypatch):
    vitals = Vitals(tokens=1000, read_gpu_bytes=lambda: 7_000_000_000)
    monkeypatch.setattr(lease_module, "VITALS", vitals)
    with keep() as lease:
        vitals.tokens += 64
        until(lambda: attempt_of(database, held).tokens == 64)
    assert attempt_of(database, held).gpu_bytes == 7_000_000_000
    assert (lease.report().tokens, lease.report().gpu_bytes) == (64, 7_000_000_000)


def test_what_the_heartbeat_logs_says_which_unit_it_is_about(keep, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(lease_module.log, "warning", lambda *_: said.append(str(logs._bound.get())))
    with logs.bound(run="r-1"), keep() as lease:
        break_database(lease._database, monkeypatch)
        until(lambda: bool(said))
    assert said[0] == "{'run': 'r-1'}"


def test_reasons_to_stop_are_no_failures_of_the_unit():
    for reason in (CancelledError, LeaseLostError, DrainError):
        assert issubclass(reason, InterruptedUnitError)
