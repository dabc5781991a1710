"""Two that do the same at the same moment, and one who asks again: each on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arith_shared.errors import UserError
from arith_shared.ledger import invariants, reconcile, runs, units
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import Artifact, Run
from arith_shared.settings import Settings
from arith_shared.testing import RecordingSender, small_spec
from arithctl.submission import new_run


def submit(database: Database) -> str:
    with database.transaction() as session:
        return runs.submit(session, small_spec(), recipe="tiny").id


def claim(database: Database) -> list[units.Claim]:
    """Claim all that can be sent now."""
    sender, held = RecordingSender(), []
    reconcile.tick(database, sender, resend_s=0.0, retry_s=0.0)
    for message in sender.take():
        with database.transaction() as session:
            claimed = units.claim(
                session, message.unit_id, message.attempt, owner=uuid.uuid4().hex, worker_id="w", host="h",
                lease_s=60.0,
            )  # fmt: skip
        held += [claimed] if claimed else []
    return held


def finish(session: Session, held: units.Claim) -> bool:
    path = f"models/{held.content_key}/{held.owner}"
    artifact = units.NewArtifact(held.content_key, "models", path, "digest", 1, {})
    return units.finish(session, held, artifact, {})


def at_once(*work: Callable[[], Any]) -> list[Any]:
    """What each returns or raises, all begun at the same moment."""
    barrier, results = threading.Barrier(len(work)), [None] * len(work)

    def do(index: int) -> None:
        barrier.wait()
        try:
            results[index] = work[index]()
        except Exception as error:  # noqa: BLE001 - the test compares what came out
            results[index] = error

    threads = [threading.Thread(target=do, args=(index,)) for index in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_runs_that_publish_the_same_new_artifact_at_once_both_finish(database: Database) -> None:
    runs_there = {submit(database), submit(database)}
    first, second = [*claim(database), *claim(database)]
    assert ({first.run_id, second.run_id}, first.content_key) == (runs_there, second.content_key)
    late: list[bool] = []

    def finish_second() -> None:
        with database.transaction() as session:
            late.append(finish(session, second))

    other = threading.Thread(target=finish_second)
    with database.transaction() as session:
        assert finish(session, first)
        other.start()
        other.join(0.5)
        # It waits: for the whole database on SQLite, for the artifact's row on PostgreSQL.
        assert late == []
    other.join()
    assert late == [True]
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Artifact)) == 1
        assert invariants.violations(session) == []


def test_who_asks_again_whether_a_unit_is_finished_hears_yes_and_changes_nothing(database: Database) -> None:
    submit(database)
    (held,) = claim(database)
    with database.transaction() as session:
        assert finish(session, held)
        before = invariants.ends(session)
    with database.transaction() as session:
        assert finish(session, held)
        assert invariants.undone(before, invariants.ends(session)) == []
        assert invariants.violations(session) == []


def test_two_submissions_with_one_key_at_once_are_one_run(database: Database, tmp_path) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    settings = Settings(home=tmp_path / "home", database_url=url)

    def one() -> str:
        return new_run(settings, small_spec(), recipe="tiny", name=None, key="mine")

    first, second = at_once(one, one)
    assert first == second
    with database.reading() as session:
        assert list(session.scalars(select(Run.id))) == [first]


def test_a_key_is_for_one_spec_and_one_recipe(database: Database) -> None:
    with database.transaction() as session:
        run = runs.submit(session, small_spec(), recipe="tiny", key="mine")
        assert runs.of_key(session, small_spec(), recipe="tiny", key="mine") is run
        assert runs.of_key(session, small_spec(), recipe="other", key="mine") is None
        assert runs.of_key(session, small_spec(), recipe="tiny", key="yours") is None
        other = small_spec().model_copy(update={"seed": 1})
        with pytest.raises(UserError, match=f"key 'mine' was used for another spec, in run {run.id}"):
            runs.of_key(session, other, recipe="tiny", key="mine")
