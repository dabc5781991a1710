"""Rows 16, 17, 20, 21, 23 and 24 of the fault matrix: the database, the reconciler, and clocks.

Rows 16, 17 and 23, and two reconcilers at once, on PostgreSQL, where transactions really overlap.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from harness.broker import Broker
from harness.deployment import Deployment
from harness.postgres import Postgres
from harness.proxy import Proxy

#: Seconds; where a stopped process must keep its unit.
LONG_LEASE = {"lease_s": 120.0}


@pytest.fixture
def on_postgres(tmp_path: Path, broker: Broker, postgres: Postgres) -> Iterator[Callable[..., Deployment]]:
    """Makes a deployment on an empty PostgreSQL database; the server runs again at the end."""
    made: list[Deployment] = []

    def make(**times: float) -> Deployment:
        made.append(Deployment(tmp_path / "home", broker.url, database_url=postgres.new_database(), **times))
        return made[0]

    yield make
    postgres.start()
    for deployment in made:
        deployment.close()


def test_row_16_a_database_that_restarts_under_a_finish_is_asked_again(on_postgres, postgres, unharmed):
    deployment = on_postgres(**LONG_LEASE)
    deployment.scheduler()
    worker = deployment.worker()
    deployment.fail_at("finish.before_commit", "stop")
    run = deployment.submit()
    child = deployment.until(worker.stopped)
    postgres.stop()
    worker.send(signal.SIGCONT, child)
    deployment.until(lambda: worker.says("result not recorded yet"))
    postgres.start()
    unharmed(deployment, run)
    assert deployment.outcomes(run, "model") == ["done"]


def test_row_16_a_finish_whose_answer_is_lost_is_read_again_and_not_done_twice(
    on_postgres, postgres, unharmed
):
    deployment = on_postgres(**LONG_LEASE)
    with Proxy(postgres.socket) as proxy:
        through = make_url(deployment.settings.database).set(query={}, host="127.0.0.1", port=proxy.port)
        deployment.scheduler()
        worker = deployment.worker(DATABASE_URL=through.render_as_string(hide_password=False))
        deployment.fail_at("finish.before_commit", "stop")
        run = deployment.submit()
        child = deployment.until(worker.stopped)
        proxy.swallow_answers()
        worker.send(signal.SIGCONT, child)
        deployment.until(lambda: deployment.state(run, "model") == "done")
        proxy.drop()
        deployment.until(lambda: worker.says("result not recorded yet"))
        unharmed(deployment, run)
        assert deployment.outcomes(run, "model") == ["done"]
        assert not worker.says("finished too late")
        deployment.close()


def test_row_17_workers_stop_by_themselves_when_the_database_is_down_past_their_lease(
    on_postgres, postgres, unharmed
):
    deployment = on_postgres()
    deployment.scheduler()
    worker = deployment.worker()
    deployment.break_units({"model": {"sleep_s": 600}})
    run = deployment.submit()
    deployment.holder(run, "model")
    # Its handler is at work: before that the worker itself asks the database, and fails at once.
    deployment.until(lambda: deployment.unit(run, "model").progress_unit)
    postgres.stop()
    deployment.until(lambda: worker.says("stopped: no heartbeat reached the database for 3 s"))
    postgres.start()
    unharmed(deployment, run)
    assert deployment.outcomes(run, "model") == ["lost", "done"]
    assert worker.starts == 1


def test_row_20_while_no_reconciler_lives_a_lost_unit_waits_and_nothing_else(deployment, unharmed):
    scheduler, worker = deployment.scheduler(), deployment.worker()
    deployment.break_units({"trained/layer-01/position-010": {"sleep_s": 600}})
    run = deployment.submit()
    deployment.holder(run, "trained/layer-01/position-010")
    scheduler.stop(signal.SIGKILL)
    worker.send(signal.SIGKILL)
    deployment.until(deployment.has_silent_units)
    # The worker that is started in its place finds nothing to do.
    deployment.until(lambda: worker.says("ready.", after=worker.log.stat().st_size // 2))
    assert deployment.outcomes(run, "trained/layer-01/position-010") == [None]
    deployment.scheduler()
    unharmed(deployment, run)
    assert deployment.outcomes(run, "trained/layer-01/position-010") == ["lost", "done"]


def test_row_20_two_reconcilers_do_what_one_does(on_postgres, unharmed):
    deployment = on_postgres(tick_s=0.05)
    schedulers = [deployment.scheduler("first"), deployment.scheduler("second")]
    deployment.worker("one")
    deployment.worker("two")
    runs = [deployment.submit() for _ in range(2)]
    for run in runs:
        unharmed(deployment, run)
        assert set(attempts(deployment, run).values()) == {1}
    assert not any(scheduler.says("ERROR") for scheduler in schedulers)


def test_row_21_units_that_were_queued_and_never_sent_are_sent_later(deployment, unharmed):
    run = deployment.insert()
    deployment.fail_at("deliver.before_send", "kill")
    scheduler = deployment.scheduler()
    deployment.until(lambda: scheduler.starts == 2)
    unit = deployment.unit(run, "model")
    assert (unit.state, unit.attempt) == ("queued", 1)
    deployment.worker()
    unharmed(deployment, run)
    assert deployment.outcomes(run, "model") == ["done"]
    assert deployment.unit(run, "model").sends > 1


def test_row_23_the_last_two_units_of_a_stage_end_at_once_and_close_it_once(on_postgres, postgres, unharmed):
    deployment = on_postgres(**LONG_LEASE)
    gate, last = (
        deployment.folder / "gate",
        ("trained/layer-01/position-000", "trained/layer-01/position-010"),
    )
    deployment.break_units({key: {"call": "harness.mishaps:wait_for", "with": str(gate)} for key in last})
    deployment.scheduler()
    workers = [deployment.worker("one"), deployment.worker("two")]
    run = deployment.submit()
    for key in last:
        deployment.holder(run, key)
    deployment.until(lambda: deployment.view(run).stages[2].done == 2)
    # The first to finish stops with the stage's row in its hands; the other then waits for that row.
    deployment.fail_at("finish.before_commit", "stop")
    gate.touch()
    first = deployment.until(lambda: next(((w, child) for w in workers if (child := w.stopped())), None))
    deployment.until(lambda: waiting_for_locks(deployment))
    first[0].send(signal.SIGCONT, first[1])
    unharmed(deployment, run)
    assert [kind for kind in deployment.events(run) if kind == "stage done"] == ["stage done"] * 4
    assert set(attempts(deployment, run).values()) == {1}


def test_row_24_workers_whose_clocks_are_an_hour_off_keep_their_leases(deployment, unharmed):
    deployment.break_units({"model": {"sleep_s": 4}, "trained/probe/00000": {"sleep_s": 4}})
    deployment.scheduler()
    deployment.worker("early", TEST_CLOCK_OFF="3600")
    deployment.worker("late", TEST_CLOCK_OFF="-3600")
    run = deployment.submit()
    unharmed(deployment, run)
    assert set(attempts(deployment, run).values()) == {1}


def attempts(deployment: Deployment, run: str) -> dict[str, int]:
    """Attempts by unit key."""
    query = text(
        "SELECT u.key, COUNT(*) FROM units u JOIN attempts a ON a.unit_id = u.id WHERE u.run_id = :run "
        "GROUP BY u.key"
    )
    with deployment.reading() as session:
        return {key: count for key, count in session.execute(query, {"run": run})}


def waiting_for_locks(deployment: Deployment) -> Any:
    """How many sessions of the database wait for a row that another has locked."""
    query = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted"
    with deployment.reading() as session:
        return session.scalar(text(query))
