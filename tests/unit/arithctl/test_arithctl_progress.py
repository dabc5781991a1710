"""Progress is shown as bars on a terminal and as few lines elsewhere, until the run is over."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from arith_shared.ledger import runs
from arith_shared.ledger.views import RunView, StageView
from arith_shared.testing import fresh_database, small_spec
from arithctl import progress, provenance
from arithctl.errors import Failure
from arithctl.snapshot import Snapshot
from arithctl.waiting import _failure


def stage(**changes) -> StageView:
    fields = {
        "name": "train", "state": "open", "total": 4, "done": 1, "reused": 0, "failed": 0, "running": 1,
        "waiting": 2, "fraction": 0.3, "elapsed_s": 10.0, "eta_s": 125.0, "progress": "5/20 steps",
        "rate": 2_500.0, "rate_unit": "steps", "note": "loss 1.0", "device": "cpu",
        "workers": 1,
    }  # fmt: skip
    return StageView(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "1/4 units, 5/20 steps, 2.5k steps/s, loss 1.0, ETA 2 m 5 s"),
        ({"state": "waiting"}, "waiting"),
        ({"running": 0, "eta_s": None, "failed": 2}, "1/4 units, 2 failed"),
        ({"running": 0, "eta_s": None, "workers": 0}, "1/4 units, waiting for a worker"),
        ({"rate": None, "note": "", "eta_s": None}, "1/4 units, 5/20 steps"),
        (
            {"state": "done", "done": 4, "reused": 3, "running": 0, "eta_s": None},
            "4/4 units, 3 reused, took 10 s",
        ),
    ],
)
def test_a_stage_is_described_in_one_line(changes, line):
    assert progress.describe(stage(**changes)) == line


@pytest.fixture
def cancelled_while_watched(home, monkeypatch):
    """Watch a run that is cancelled between the first and the second look; returns what was shown."""
    monkeypatch.setattr(progress, "_POLL_S", 0.0)
    database = fresh_database(f"sqlite:///{home / 'arith.db'}")
    with database.transaction() as session:
        run_id = runs.submit(session, small_spec(), recipe="tiny").id

    def cancel() -> None:
        with database.transaction() as session:
            runs.cancel(session, run_id)

    def show(**console) -> str:
        out = io.StringIO()
        shown = progress.watch(database, lambda _: [run_id], Console(file=out, width=100, **console), cancel)
        assert [run.state for run in shown.runs] == ["cancelled"]
        return out.getvalue()

    yield show
    database.close()


def test_a_terminal_gets_a_bar_per_stage(cancelled_while_watched):
    shown = cancelled_while_watched(force_terminal=True)
    for name in ("train", "extract", "probe", "summarize"):
        assert name in shown


def test_elsewhere_there_is_a_line_per_change_and_no_control_sequence(cancelled_while_watched):
    shown = cancelled_while_watched(force_terminal=False)
    assert shown == "train      open    0/1 units, waiting for a worker\ntrain      cancelled 0/1 units\n"


def test_a_stage_that_goes_on_is_not_repeated_with_every_look():
    out = io.StringIO()
    lines = progress._Lines(Console(file=out, width=200))
    for done in range(3):
        lines.update(_snapshot(_view(stage(done=done))))
    lines.update(_snapshot(_view(stage(done=4, state="done", running=0, eta_s=None))))
    assert [line.split()[:2] for line in out.getvalue().splitlines()] == [
        ["train", "open"],
        ["train", "done"],
    ]


def _snapshot(*views: RunView) -> Snapshot:
    return Snapshot([], views, [], [])


def _view(*stages: StageView, **changes) -> RunView:
    fields = {
        "id": "r-1", "recipe": "r", "name": None, "state": "active", "error": None, "elapsed_s": 1.0,
        "last_error": None,
    }  # fmt: skip
    return RunView(**{**fields, **changes}, stages=stages)


def test_a_run_that_failed_exits_with_1_and_says_how_to_look_and_go_on():
    failure = _failure(_view(state="failed", error="boom"))
    assert isinstance(failure, Failure)
    assert failure.exit_code == 1
    for part in ("r-1 failed: boom", "`arithctl logs r-1 --errors`", "`arithctl resume r-1`"):
        assert part in failure.message
    cancelled = _failure(_view(state="cancelled"))
    assert (cancelled.exit_code, "was cancelled" in cancelled.message) == (1, True)


def test_provenance_outside_a_checkout_or_without_git_is_still_collected(monkeypatch):
    monkeypatch.setenv("PATH", "")
    collected = provenance.collect()
    assert collected["git"] is None
    assert collected["python"].startswith("3.")


def test_provenance_names_the_commit(monkeypatch):
    answers = {"rev-parse": "abc123", "status": " M file"}
    monkeypatch.setattr(provenance, "_run_git", lambda folder, command, *rest: answers[command])
    assert provenance.collect()["git"] == {"commit": "abc123", "dirty": True}
