"""Rows 10 to 15 of the fault matrix: a real Redis or Valkey dies, forgets, fills up and falls silent.

Wherever it makes a difference each row is seen with a broker that forgets and with one that keeps a log of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from harness.broker import Broker
from harness.deployment import Deployment
from harness.limits import SmallDisk
from harness.proxy import Proxy

forgetting_or_not = pytest.mark.parametrize("keeps", [False, True], ids=["forgets", "keeps"])


@pytest.fixture
def broker(lasting_broker: Broker) -> Iterator[Broker]:
    """The broker of the lasting deployment."""
    yield lasting_broker
    lasting_broker.keep(False)


@pytest.fixture
def gate(standing: Deployment) -> Iterator[Path]:
    """A file that the training unit of the next run waits for."""
    file = standing.folder / "gate"
    file.unlink(missing_ok=True)
    standing.break_units({"model": {"call": "harness.mishaps:wait_for", "with": str(file)}})
    return file


def test_row_10_an_idle_worker_comes_back_to_a_broker_that_was_killed(standing, unharmed, broker):
    worker = standing.services["worker"]
    starts = worker.starts
    # The first message is lost with the broker, the second finds none.
    worker.send(signal.SIGSTOP)
    lost = standing.submit()
    broker.kill()
    late = standing.insert()
    broker.start()
    worker.send(signal.SIGCONT)
    for run in (lost, late):
        unharmed(standing, run)
        assert standing.outcomes(run, "model") == ["done"]
    assert standing.unit(lost, "model").sends > 1
    assert worker.starts == starts


@forgetting_or_not
def test_row_11_a_broker_that_is_killed_does_not_disturb_a_unit_in_work(
    standing, unharmed, broker, gate, keeps
):
    broker.keep(keeps)
    run = standing.submit()
    worker = standing.holder(run, "model")
    starts = worker.starts
    broker.kill()
    broker.start()
    gate.touch()
    unharmed(standing, run)
    assert standing.outcomes(run, "model") == ["done"]
    assert worker.starts == starts


@forgetting_or_not
def test_row_12_a_unit_ends_while_the_broker_is_down_and_the_run_goes_on_when_it_is_back(
    standing, unharmed, broker, gate, keeps
):
    broker.keep(keeps)
    run = standing.submit()
    standing.holder(run, "model")
    broker.kill()
    gate.touch()
    standing.until(lambda: standing.state(run, "model") == "done")
    status = standing.cli("status", run)
    assert (status.exit_code, "does not answer" in status.output) == (0, True)
    assert standing.view(run).stages[1].done == 0
    broker.start()
    unharmed(standing, run)
    assert "does not answer" not in standing.cli("status", run).output
    assert standing.outcomes(run, "model") == ["done"]


@forgetting_or_not
def test_row_13_a_broker_may_be_flushed_in_every_stage(standing, unharmed, broker, keeps):
    broker.keep(keeps)
    slow = ("model", "trained/probe/00000", "trained/layer-00/position-000", "summary")
    standing.break_units({unit: {"sleep_s": 0.5} for unit in slow})
    run, flushed = standing.submit(), set()

    def flush_once_a_stage() -> bool:
        view = standing.view(run)
        stage = next((stage.name for stage in view.stages if stage.state == "open"), None)
        if stage is not None and stage not in flushed:
            broker.client.flushall()
            flushed.add(stage)
        return view.state == "done"

    standing.until(flush_once_a_stage)
    assert len(flushed) == 4
    unharmed(standing, run)


def warned(standing: Deployment) -> str:
    """Submit by the command line while the broker takes nothing; returns the run."""
    ran = standing.command("submit", standing.recipe())
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "the run is kept, and sent when the broker takes it" in ran.stderr
    return ran.stdout.strip()


def test_row_14_a_run_that_a_full_broker_does_not_take_waits_in_the_database(standing, unharmed, broker):
    broker.client.config_set("maxmemory", "1kb")
    run = warned(standing)
    assert standing.state(run, "model") == "queued"
    broker.client.config_set("maxmemory", "0")
    unharmed(standing, run)


def test_row_14_a_broker_whose_disk_is_full_delays_a_run_and_takes_it_when_there_is_room(tmp_path, unharmed):
    with SmallDisk(tmp_path / "disk", "2m") as disk:
        broker = Broker(disk.folder / "broker")
        broker.keep(True)
        deployment = Deployment(tmp_path / "home", broker.url)
        try:
            deployment.scheduler()
            worker = deployment.worker()
            deployment.until(lambda: worker.says("ready."))
            disk.fill()
            deployment.until(lambda: _is_refused(broker))
            run = warned(deployment)
            disk.free()
            unharmed(deployment, run)
        finally:
            deployment.close()
            broker.kill()


def _is_refused(broker: Broker) -> bool:
    try:
        broker.client.set("x", bytes(100_000))
    except redis.RedisError as error:
        return "MISCONF" in str(error)
    return False


def test_row_15_a_connection_that_has_fallen_silent_is_given_up_and_made_anew(tmp_path, unharmed):
    server = Broker(tmp_path / "broker")
    with Proxy(server.socket) as proxy:
        deployment = Deployment(tmp_path / "home", f"redis://127.0.0.1:{proxy.port}/0")
        try:
            scheduler, worker = deployment.scheduler(), deployment.worker()
            deployment.until(lambda: worker.says("ready."))
            unharmed(deployment, deployment.submit())
            proxy.silence()
            unharmed(deployment, deployment.submit())
            assert [service.starts for service in (scheduler, worker)] == [1, 1]
        finally:
            deployment.close()
    server.kill()
