"""Every edge of a unit's life is crossed by a process that dies there, fails there, or stops and comes back.

Each time the run ends as if nothing had happened. Together the tests name every failpoint that there is.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
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
SENDING = ("deliver.before_commit", "deliver.before_send")

kill_or_raise = pytest.mark.parametrize("action", ["kill", "raise"])


def test_every_failpoint_is_put_to_the_test_here():
    here = {*MID_UNIT, *SENDING}
    here |= {"submit.before_commit", "fail.before_commit", "release.before_commit", "expire.before_commit"}
    assert here == set(FAILPOINTS)


@pytest.fixture
def failing(deployment: Deployment) -> Iterator[Callable[[str, str], dict[str, str]]]:
    """Environment of a process that is to fail at a point, the first time; the test ends by seeing that it did."""
    mark = deployment.folder / "failed"

    def make(name: str, action: str) -> dict[str, str]:
        return {"FAILPOINT": f"{name}:{action}", "FAILPOINT_ONCE": str(mark)}

    yield make
    assert mark.exists(), "the failpoint was never reached"


@kill_or_raise
@pytest.mark.parametrize("name", MID_UNIT)
def test_a_worker_may_fail_at_any_point_of_a_unit(deployment, failing, unharmed, name, action):
    deployment.scheduler()
    deployment.worker(**failing(name, action))
    unharmed(deployment, deployment.submit(seed=1), seed=1)


@kill_or_raise
def test_a_worker_may_fail_while_it_records_a_failure(deployment, failing, unharmed, action):
    deployment.break_units({"model": {"raise": "no luck"}})
    deployment.scheduler()
    deployment.worker(**failing("fail.before_commit", action))
    run = deployment.submit(seed=1)
    unharmed(deployment, run, seed=1)
    # Its record was rolled back: the silence was counted, and once.
    assert deployment.outcomes(run, "model") == ["lost", "done"]


@kill_or_raise
def test_a_worker_may_fail_while_it_hands_a_unit_back(deployment, failing, unharmed, action):
    deployment.break_units({"model": {"sleep_s": 600}})
    deployment.scheduler()
    worker = deployment.worker(**failing("release.before_commit", action))
    run = deployment.submit(seed=1)
    deployment.holder(run, "model")
    worker.send(signal.SIGTERM, worker.pid)
    unharmed(deployment, run, seed=1)
    assert deployment.outcomes(run, "model") == ["lost", "done"]


@kill_or_raise
@pytest.mark.parametrize("name", SENDING)
def test_a_reconciler_may_fail_while_it_sends(deployment, failing, unharmed, name, action):
    run = deployment.insert(seed=1)
    deployment.scheduler(**failing(name, action))
    deployment.until((deployment.folder / "failed").exists)
    deployment.worker()
    unharmed(deployment, run, seed=1)
    assert deployment.outcomes(run, "model") == ["done"]


@kill_or_raise
def test_a_reconciler_may_fail_while_it_takes_units_back(deployment, failing, unharmed, action):
    deployment.break_units({"model": {"sleep_s": 600}})
    worker = deployment.worker()
    run = deployment.submit(seed=1)
    deployment.holder(run, "model")
    worker.send(signal.SIGKILL)
    deployment.until(deployment.has_silent_units)
    deployment.scheduler(**failing("expire.before_commit", action))
    unharmed(deployment, run, seed=1)
    assert deployment.outcomes(run, "model") == ["lost", "done"]


@kill_or_raise
def test_a_submission_that_fails_before_its_end_leaves_no_run(deployment, failing, unharmed, action):
    ran = deployment.command("submit", deployment.recipe(seed=1), **failing("submit.before_commit", action))
    assert ran.returncode == (-signal.SIGKILL if action == "kill" else 1)
    with deployment.reading() as session:
        assert views.run_list(session) == []
    deployment.scheduler()
    deployment.worker()
    ran = deployment.command("submit", deployment.recipe(seed=1))
    unharmed(deployment, ran.stdout.strip(), seed=1)


def test_a_submission_that_is_killed_before_it_sends_leaves_a_run_that_is_done(deployment, failing, unharmed):
    ran = deployment.command("submit", deployment.recipe(seed=1), **failing("deliver.before_send", "kill"))
    assert ran.returncode == -signal.SIGKILL
    deployment.scheduler()
    deployment.worker()
    with deployment.reading() as session:
        (run,) = views.run_list(session)
    unharmed(deployment, run["run"], seed=1)


@pytest.mark.parametrize("name", ["handler.before", "handler.after", "publish.after", "finish.after_commit"])
def test_a_worker_that_stops_and_comes_back_changes_nothing(deployment, failing, unharmed, name):
    deployment.scheduler()
    asleep = deployment.worker("asleep", **failing(name, "stop"))
    run = deployment.submit(seed=1)
    child = deployment.until(asleep.stopped)
    deployment.worker("awake")
    deployment.over(run)
    asleep.send(signal.SIGCONT, child)
    word = "done" if name == "finish.after_commit" else "finished too late"
    deployment.until(lambda: asleep.says(word))
    unharmed(deployment, run, seed=1)
    assert deployment.outcomes(run, "model") == (["done"] if word == "done" else ["lost", "done"])


@pytest.mark.parametrize("name", ["claim.before_commit", "finish.before_commit"])
def test_a_worker_that_stops_inside_a_transaction_does_not_lock_out_the_others(
    tmp_path: Path, broker: Broker, postgres: Postgres, unharmed, name
):
    deployment = Deployment(tmp_path / "home", broker.url, postgres.new_database())
    try:
        deployment.scheduler()
        failpoint = {"FAILPOINT": f"{name}:stop", "FAILPOINT_ONCE": str(tmp_path / "failed")}
        asleep = deployment.worker("asleep", **failpoint)
        run = deployment.submit(seed=1)
        child = deployment.until(asleep.stopped)
        deployment.worker("awake")
        unharmed(deployment, run, seed=1)
        asleep.send(signal.SIGCONT, child)
        deployment.until(lambda: asleep.says("idle-in-transaction timeout"))
        unharmed(deployment, run, seed=1)
    finally:
        deployment.close()
