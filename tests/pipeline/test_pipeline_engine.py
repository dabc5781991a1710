"""The embedded engine with everything real but the work: broker, Celery workers, processes and signals.

The handlers are fakes that take milliseconds, so what is put to the test is who starts, delivers, counts,
dies and takes over. A host process is the engine, as `submit --wait` is, and the tests kill parts of it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from harness.embedded import Home
from harness.processes import descendants, is_alive, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Iterator[Home]:
    """A home with an engine that lives as long as this module's tests."""
    home = Home.new(tmp_path_factory.mktemp("engine"))
    with home.running(sys.executable, "host.py") as host:
        assert host.stdout.readline() == "started\n"
        yield home


@pytest.fixture(scope="module")
def reference(engine) -> str:
    """A run in which nothing went wrong."""
    run = engine.submit(seed=0)
    assert engine.over(run).state == "done"
    return run


def test_a_run_goes_through_all_stages_and_leaves_every_row_once(engine, reference):
    stages = engine.view(reference).stages
    # Two shards to fit on and one to evaluate on, then one more of each, since the first misses a problem.
    assert [(stage.name, stage.state, stage.done) for stage in stages] == [
        ("train", "done", 1),
        ("extract", "done", 5),
        ("probe", "done", 4),
        ("summarize", "done", 1),
    ]
    assert [(row["layer"], row["position"], row["value"]) for row in engine.scores(reference)] == [
        (layer, position, position / 100) for layer in range(2) for position in range(20)
    ]


def test_a_pool_child_that_is_killed_in_its_unit_only_delays_the_run(engine, reference):
    engine.break_units({"model": {"kill": True}, "trained/layer-01/position-010": {"kill": True}})
    run = engine.submit(seed=1)
    view = engine.over(run)
    assert (view.state, [stage.failed for stage in view.stages]) == ("done", [0] * 4)
    assert engine.scores(run) == engine.scores(reference)
    assert engine.events(run).count("lease lost") == 2


def test_a_worker_that_is_killed_with_its_unit_is_started_again(engine, reference):
    engine.break_units({"model": {"sleep_s": 600}})
    run = engine.submit(seed=2)
    until(lambda: engine.view(run).stages[0].running)
    trainer = engine.trainer()
    child = descendants(trainer)
    os.kill(trainer, signal.SIGKILL)
    until(lambda: not any(map(is_alive, child)))
    assert engine.over(run).state == "done"
    assert engine.scores(run) == engine.scores(reference)
    assert is_alive(engine.trainer())


def test_a_poisonous_unit_fails_the_run_after_three_attempts(engine):
    engine.break_units({"model": {"raise": "poison", "attempts": 99}})
    ran = engine.run("submit", engine.recipe(seed=3), "--wait")
    assert ran.returncode == 1
    assert "failed: 1 of 1 train units failed: RuntimeError: poison" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert engine.events(engine.view().id).count("attempt failed") == 3


def test_resuming_a_failed_run_does_only_what_is_missing(engine):
    engine.break_units({"trained/layer-01/position-010": {"raise": "poison", "attempts": 3}})
    run = engine.submit(seed=4)
    assert engine.over(run).state == "failed"
    kept = [stage.done for stage in engine.view(run).stages]
    assert kept == [1, 5, 3, 0]
    ran = engine.run("resume", run, "--wait", "--output", "results")
    assert (ran.returncode, "units queued again: 1" in ran.stderr) == (0, True)
    assert [stage.done for stage in engine.view(run).stages] == [1, 5, 4, 1]
    assert {"scores.csv", "summary.csv"} <= {
        path.name for path in (engine.folder / "results" / run).iterdir()
    }


def test_the_same_experiment_again_reuses_every_artifact(engine, reference):
    run = engine.submit(seed=0)
    assert engine.over(run).state == "done"
    assert [(stage.name, stage.reused) for stage in engine.view(run).stages] == [
        ("train", 1),
        ("extract", 5),
        ("probe", 4),
        ("summarize", 1),
    ]
    assert engine.scores(run) == engine.scores(reference)
