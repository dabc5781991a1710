"""Rows 1, 5 and 6 of the fault matrix with the real trainer: weights and log come out the same, byte for byte."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import processes
from harness.broker import Broker
from harness.deployment import Deployment
from harness.handlers import REAL

#: Seconds; importing torch on a busy machine can keep a heartbeat waiting for many.
LEASE_S = 15.0
#: Some seventy steps, and checkpoints all the time.
TRAINING = {
    "width": 16, "heads": 2, "ffn": 32,
    "training": {
        "problems": 512, "epochs": 6, "batch_tokens": 1024, "checkpoint_every_s": 0.1, "evaluate_every": 20,
        "evaluate_problems": 32,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two workers that train for real."""
    folder = tmp_path_factory.mktemp("trainers")
    server = Broker(folder / "broker")
    made = Deployment(folder / "home", server.url, lease_s=LEASE_S)
    made.scheduler()
    made.worker("one", TEST_TRAINER=REAL)
    made.worker("two", TEST_TRAINER=REAL)
    yield made
    made.close()
    server.kill()


def begin(trainers: Deployment) -> tuple[str, processes.Service]:
    """A run in training that has saved a checkpoint, and the worker that trains it."""
    run = trainers.submit(lm=TRAINING)
    scratch = trainers.store.scratch(trainers.unit(run, "model").content_key)
    trainers.until(lambda: list(scratch.glob("step-*.safetensors")))
    return run, trainers.holder(run, "model")


def went_on(trainers: Deployment) -> int:
    """How often a trainer has gone on from a checkpoint."""
    return sum(log.read_text().count("going on from the checkpoint after step") for log in logs(trainers))


def logs(trainers: Deployment) -> list[Path]:
    """The logs of the trainers."""
    return [trainers.services[name].log for name in ("one", "two")]


def test_row_01_a_trainer_that_is_killed_between_two_steps_goes_on_from_its_checkpoint(trainers, unharmed):
    before = went_on(trainers)
    run, worker = begin(trainers)
    starts = worker.starts
    for child in processes.pool_children(worker.pid):
        worker.send(signal.SIGKILL, child)
    unharmed(trainers, run, trainer=REAL)
    assert trainers.outcomes(run, "model") == ["lost", "done"]
    assert (went_on(trainers) - before, worker.starts) == (1, starts)


def test_row_05_a_trainer_told_to_stop_saves_a_checkpoint_and_another_goes_on_from_there(trainers, unharmed):
    before = went_on(trainers)
    run, worker = begin(trainers)
    worker.send(signal.SIGTERM, worker.pid)
    unharmed(trainers, run, trainer=REAL)
    assert trainers.outcomes(run, "model") == ["released", "done"]
    assert (trainers.unit(run, "model").failures, went_on(trainers) - before) == (0, 1)


def test_row_06_two_trainers_that_share_checkpoints_for_a_while_do_not_disturb_each_other(trainers, unharmed):
    run, asleep = begin(trainers)
    said = asleep.log.stat().st_size
    asleep.send(signal.SIGSTOP)
    trainers.until(lambda: trainers.unit(run, "model").attempt == 2)
    asleep.send(signal.SIGCONT)
    unharmed(trainers, run, trainer=REAL)
    trainers.until(lambda: asleep.says("another worker may hold the unit by now", after=said))
    assert trainers.outcomes(run, "model") == ["lost", "done"]
