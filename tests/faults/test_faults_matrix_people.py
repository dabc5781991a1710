"""Rows 22, 25 and 26 of the fault matrix: people cancel, submit twice, and kill what they have started."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arith_shared.ledger import invariants, views
from harness import processes
from harness.broker import Broker
from harness.deployment import Deployment, results_of, spec_of_seed
from harness.embedded import Home


@pytest.mark.parametrize("is_down", [False, True], ids=["broker-up", "broker-down"])
def test_row_22_runs_are_cancelled_whatever_their_units_do_and_leave_no_rows(
    standing: Deployment, lasting_broker: Broker, unharmed, is_down: bool
):
    standing.break_units({"model": {"sleep_s": 600}})
    running = standing.submit()
    standing.holder(running, "model")
    queued = standing.submit()
    standing.until(lambda: standing.state(queued, "model") == "queued")
    # One waits in the broker for the trainer at work; the next one must wait in the database.
    ready = standing.submit()
    assert standing.state(ready, "model") == "ready"
    runs = (running, queued, ready)
    if is_down:
        lasting_broker.kill()
    said = [standing.cli("cancel", run).output for run in runs]
    assert said == [f"{running}: cancelling\n", f"{queued}: cancelled\n", f"{ready}: cancelled\n"]
    assert all("is over already" in standing.cli("cancel", run).output for run in runs)
    assert [standing.over(run).state for run in runs] == ["cancelled"] * 3
    if is_down:
        lasting_broker.start()
    with standing.reading() as session:
        assert all(not any(results_of(session, run).rows.values()) for run in runs)
        assert invariants.violations(session) == []
    assert standing.outcomes(running, "model") == ["cancelled"]
    standing.break_units({})
    assert all(standing.cli("resume", run).exit_code == 0 for run in runs)
    for run in runs:
        unharmed(standing, run)


def test_row_25_a_submission_that_is_killed_before_it_commits_leaves_no_run(deployment: Deployment):
    ran = deployment.command("submit", deployment.recipe(), FAILPOINT="submit.before_commit:kill")
    assert (ran.returncode, ran.stdout) == (-signal.SIGKILL, "")
    assert listed(deployment) == []


def test_row_25_a_submission_that_is_killed_after_it_and_repeated_with_its_key_is_one_run(
    deployment: Deployment, unharmed
):
    recipe = deployment.recipe()
    ran = deployment.command("submit", recipe, "--key", "mine", FAILPOINT="deliver.before_send:kill")
    assert (ran.returncode, ran.stdout) == (-signal.SIGKILL, "")
    (run,) = listed(deployment)
    again = deployment.command("submit", recipe, "--key", "mine")
    assert (again.returncode, again.stdout) == (0, f"{run}\n")
    assert f"{run} was submitted with this key before" in again.stderr
    other = deployment.command("submit", deployment.recipe(), "--key", "mine")
    assert (other.returncode, "was used for another spec" in other.stderr) == (2, True)
    assert listed(deployment) == [run]
    deployment.scheduler()
    deployment.worker()
    unharmed(deployment, run)


def listed(deployment: Deployment) -> list[str]:
    """The ids of all runs."""
    with deployment.reading() as session:
        return [row["run"] for row in views.run_list(session)]


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[tuple[Home, subprocess.Popen[str]]]:
    """`submit --wait` in the middle of a unit that would take hours; the next attempt would take none."""
    home = Home.new(tmp_path)
    home.break_units({"model": {"sleep_s": 9_999}})
    with home.running(*home.command("submit", home.recipe(seed=1), "--wait")) as parent:
        run = parent.stdout.readline().split()[1]
        processes.until(lambda: home.view(run).stages[0].running)
        yield home, parent


def kill(parent: subprocess.Popen[str]) -> None:
    """End a process the hard way, and see that its whole family goes."""
    # A broker, at least three workers, their children; the workers that have nothing to do start later.
    processes.until(lambda: len(processes.descendants(parent.pid)) > 6)
    family = processes.descendants(parent.pid)
    parent.kill()
    parent.wait()
    processes.until(lambda: not any(map(processes.is_alive, family)), within_s=20)


def as_if_undisturbed(home: Home, undisturbed: Callable) -> None:
    """The newest run of an embedded home ended as if nothing had happened."""
    assert home.view().state == "done"
    with home.reading() as session:
        assert results_of(session, home.view().id) == undisturbed(spec_of_seed(1))
        assert invariants.violations(session) == []
    processes.until(lambda: not processes.of_folder(home.folder / ".arith"), within_s=60)


def test_row_26_killing_the_embedded_parent_leaves_no_process_and_resume_completes_the_run(
    interrupted, undisturbed
):
    home, parent = interrupted
    kill(parent)
    ran = home.run("resume", "last", "--wait")
    assert ran.returncode == 0, ran.stderr
    assert "Summary" in ran.stdout
    as_if_undisturbed(home, undisturbed)


def test_row_26_a_second_process_looks_on_and_takes_over_when_the_embedded_parent_is_killed(
    interrupted, undisturbed
):
    home, parent = interrupted
    with home.running(*home.command("resume", "last", "--wait")) as second:
        processes.until(lambda: "train" in second.stdout.readline())
        assert processes.descendants(second.pid) == set()
        kill(parent)
        processes.until(lambda: second.poll() is not None)
        assert second.returncode == 0
    as_if_undisturbed(home, undisturbed)
