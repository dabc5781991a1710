"""A machine that is slow because others work on it too delays runs and does nothing else to them."""

from __future__ import annotations


def test_a_pool_child_that_is_slow_to_start_gets_its_time(deployment, unharmed):
    # Above the four seconds after which Celery, left to itself, kills a child, and then its successor, for ever.
    deployment.worker(TEST_SLOW_START="7")
    deployment.scheduler()
    run = deployment.submit()
    unharmed(deployment, run)
    assert deployment.outcomes(run, "model") == ["done"]
