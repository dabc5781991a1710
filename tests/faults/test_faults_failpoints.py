"""Every edge of a unit's life is crossed by a process that dies there, fails there, or stops and comes back.

Each time the run ends as if nothing had happened. Together with the fault matrix beside them the tests fail at
every failpoint that there is.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from arith_shared.failpoints import FAILPOINTS
from arith_shared.ledger import views
from harness.broker import Broker
from harness.deployment import Deployment
from harness.postgres import Postgres

MID_UNIT = (
    "claim.before_commit",
    "claim.after_commit",
    "handler.before",
    "handler.after",
    "publish.after",
    "finish.before_commit",
    "finish.after_commit",
)
#: Where a worker dies in a row of the fault matrix.
OF_A_ROW = ("publish.after", "finish.after_commit")
SENDING = ("deliver.before_commit", "deliver.before_send")

kill_or_raise = pytest.mark.parametrize("action", ["kill", "raise"])


def test_every_failpoint_is_put_to_the_test_here():
    here = {*MID_UNIT, *SENDING}
    here |= {"submit.before_commit", "fail.before_commit", "release.before_commit", "expire.before_commit"}
    assert here == set(FAILPOINTS)


@pytest.mark.parametrize(
    ("name", "action"),
    [
        (name, action)
        for name in MID_UNIT
        for action in ("kill", "raise")
        if action == "raise" or name not in OF_A_ROW
    ],
)
def test_a_worker_may_fail_at_any_point_of_a_unit(standing, unharmed, name, action):
    standing.fail_at(name, action)
    unharmed(standing, standing.submit())


@kill_or_raise
def test_a_worker_may_fail_while_it_records_a_failure(standing, unharmed, action):
    standing.break_units({"model": {"raise": "no luck"}})
    standing.fail_at("fail.before_commit", action)
    run = standing.submit()
    unharmed(standing, run)
    # Its record was rolled back: the silence was counted, and once.
    assert standing.outcomes(run, "model") == ["lost", "done"]


@kill_or_raise
def test_a_worker_may_fail_while_it_hands_a_unit_back(standing, unharmed, action):
    standing.break_units({"model": {"sleep_s": 600}})
    standing.fail_at("release.before_commit", action)
    run = standing.submit()
    worker = standing.holder(run, "model")
    worker.send(signal.SIGTERM, worker.pid)
    unharmed(standing, run)
    assert standing.outcomes(run, "model") == ["lost", "done"]


@pytest.mark.parametrize("name", ["handler.before", "handler.after", "publish.after", "finish.after_commit"])
def test_a_worker_that_stops_and_comes_back_changes_nothing(standing, unharmed, name):
    asleep = standing.services["worker"]
    said = asleep.log.stat().st_size
    standing.fail_at(name, "stop")
    run = standing.submit()
    child = standing.until(asleep.stopped)
    awake = standing.worker("awake")
    standing.over(run)
    asleep.send(signal.SIGCONT, child)
    word = "done" if name == "finish.after_commit" else "finished too late"
    standing.until(lambda: asleep.says(word, after=said))
    awake.stop()
    unharmed(standing, run)
    assert standing.outcomes(run, "model") == (["done"] if word == "done" else ["lost", "done"])


# Killed between the commit and the sending it is row 21 of the fault matrix.
@pytest.mark.parametrize(
    ("name", "action"), [(SENDING[0], "kill"), (SENDING[0], "raise"), (SENDING[1], "raise")]
)
def test_a_reconciler_may_fail_while_it_sends(deployment, unharmed, name, action):
    run = deployment.insert()
    deployment.fail_at(name, action)
    deployment.scheduler()
    deployment.until(lambda: not deployment.failpoint.exists())
    deployment.worker()
    unharmed(deployment, run)
    assert deployment.outcomes(run, "model") == ["done"]


@kill_or_raise
def test_a_reconciler_may_fail_while_it_takes_units_back(deployment, unharmed, action):
    deployment.break_units({"model": {"sleep_s": 600}})
    worker = deployment.worker()
    run = deployment.submit()
    deployment.holder(run, "model")
    worker.send(signal.SIGKILL)
    deployment.until(deployment.has_silent_units)
    deployment.fail_at("expire.before_commit", action)
    deployment.scheduler()
    unharmed(deployment, run)
    assert not deployment.failpoint.exists()
    assert deployment.outcomes(run, "model") == ["lost", "done"]


def test_a_submission_that_fails_before_its_end_leaves_no_run(deployment):
    ran = deployment.command("submit", deployment.recipe(), FAILPOINT="submit.before_commit:raise")
    assert ran.returncode == 1
    with deployment.reading() as session:
        assert views.run_list(session) == []


@pytest.mark.parametrize("name", ["claim.before_commit", "finish.before_commit"])
def test_a_worker_that_stops_inside_a_transaction_does_not_lock_out_the_others(
    tmp_path: Path, broker: Broker, postgres: Postgres, unharmed, name
):
    deployment = Deployment(tmp_path / "home", broker.url, database_url=postgres.new_database())
    try:
        deployment.scheduler()
        deployment.fail_at(name, "stop")
        asleep = deployment.worker("asleep")
        run = deployment.submit()
        child = deployment.until(asleep.stopped)
        deployment.worker("awake")
        unharmed(deployment, run)
        asleep.send(signal.SIGCONT, child)
        deployment.until(lambda: asleep.says("idle-in-transaction timeout"))
        unharmed(deployment, run)
    finally:
        deployment.close()
