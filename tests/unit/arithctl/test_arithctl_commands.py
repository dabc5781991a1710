"""What the commands about runs print, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from sqlalchemy import update

from arith_shared.ledger import units, workers
from arith_shared.ledger.tables import Unit


def queue(database) -> int:
    """Make the run's first unit ready to be claimed; returns its id."""
    with database.transaction() as session:
        return session.scalar(update(Unit).values(state="queued", resend_at=0.0).returning(Unit.id))


def claim(database, lease_s: float = 60.0) -> units.Claim:
    unit_id = queue(database)
    with database.transaction() as session:
        workers.report(session, "w1", host="h1", pid=7, queue="train", version="1")
        workers.set_device(session, "w1", "cpu")
        held = units.claim(session, unit_id, 1, owner="o", worker_id="w1", host="h1", lease_s=lease_s)
    assert held is not None
    return held


STAGE_FIELDS = {
    "name", "state", "total", "done", "reused", "failed", "running", "waiting", "fraction", "elapsed_s",
    "eta_s", "progress", "rate", "rate_unit", "note", "device", "workers",
}  # fmt: skip


def test_status_as_json_has_the_promised_fields(cli, submitted):
    view = cli("status", "last", "--json").json
    assert (view["run"], view["state"], view["name"]) == (submitted, "active", "first")
    assert [stage["name"] for stage in view["stages"]] == ["train", "extract", "probe", "summarize"]
    assert [stage["state"] for stage in view["stages"]] == ["open", "waiting", "waiting", "waiting"]
    assert all(set(stage) == STAGE_FIELDS for stage in view["stages"])


def test_status_lists_the_newest_run_first(cli, submitted):
    second = cli("submit", "tiny-specialized", "--json").json["run"]
    assert [row["run"] for row in cli("status", "--json").json] == [second, submitted]
    lines = cli("status").out.splitlines()
    assert lines[1].split()[:4] == [second, "active", "train", "0/1"]
    assert lines[2].endswith("first")


def test_a_run_is_found_by_its_id_a_prefix_and_as_the_last(cli, submitted):
    for text in (submitted, submitted[:-2], "tiny", "last"):
        assert cli("status", text, "--json").json["run"] == submitted


def test_status_shows_what_a_running_unit_does_and_where(cli, submitted, database):
    held = claim(database)
    with database.transaction() as session:
        units.heartbeat(session, held, units.Report(50, 200, "steps", "loss 1.25", rate=2.0), 60.0)
    shown = cli("status", "last").out
    assert re.search(
        r"train +open +0/1 units, 50/200 steps, 2 steps/s, loss 1.25, ETA 1 m 15 s +on cpu", shown
    )
    stage = cli("status", "last", "--json").json["stages"][0]
    assert (stage["running"], stage["waiting"], stage["fraction"], stage["device"]) == (1, 0, 0.25, "cpu")


def test_status_names_the_last_error_and_logs_has_its_traceback(cli, submitted, database):
    held = claim(database)
    trace = "Traceback (most recent call last):\n  ...\nRuntimeError: boom\n"
    with database.transaction() as session:
        units.fail(session, held, "boom", trace, permanent=False, retry_s=0.0)
    assert (
        f"last error: RuntimeError: boom (`arithctl logs {submitted} --errors`)" in cli("status", "last").out
    )
    log = cli("logs", "last", "--errors").out
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  submitted .*seed 1$", log, re.MULTILINE)
    assert "attempt failed" in log
    assert f"train model, attempt 1, on h1:\n{trace}" in log
    assert "Traceback" not in cli("logs", "last").out


def test_a_failed_run_says_so_with_its_error(cli, submitted, database):
    held = claim(database)
    with database.transaction() as session:
        units.fail(session, held, "no luck", "", permanent=True, retry_s=0.0)
    view = cli("status", "last", "--json").json
    assert (view["state"], view["error"]) == ("failed", "no luck (train unit model, attempt 1 on h1)")
    assert "error: no luck" in cli("status", "last").out


def test_cancelling_stops_a_waiting_run_at_once_and_resuming_continues_it(cli, submitted):
    assert cli("cancel", "last").out == f"{submitted}: cancelled\n"
    assert cli("cancel", "last").out == f"{submitted} is over already: cancelled\n"
    view = cli("status", "last", "--json").json
    assert (view["state"], view["stages"][0]["state"]) == ("cancelled", "cancelled")
    # What the stage took ends with the run.
    assert cli("status", "last", "--json").json["stages"] == view["stages"]
    assert cli("resume", "last").err == f"{submitted}: active, units queued again: 1\n"
    view = cli("status", "last", "--json").json
    assert (view["state"], view["stages"][0]["state"]) == ("active", "open")


def test_following_the_log_of_a_run_that_is_over_ends(cli, submitted):
    cli("cancel", "last")
    kinds = [line.split("  ", 2)[1].strip() for line in cli("logs", "last", "-f").out.splitlines()]
    assert kinds == ["submitted", "cancel requested", "run cancelled"]


@pytest.fixture
def scored(submitted, database):
    """A run with two score rows, recorded as a probe's finish would."""
    held = claim(database)
    row = {
        "layer": 0, "token": "A", "variable": "A", "family": "ridge", "metric": "pearson", "ci_low": None,
        "ci_high": None, "n_train": 4, "n_eval": 2, "ceiling": 1.0, "control": 0.0, "given": False,
    }  # fmt: skip
    rows = [
        {**row, "position": 0, "value": 0.1 + 0.2, "status": "ok"},
        {**row, "position": 1, "value": None, "status": "constant"},
    ]
    artifact = units.NewArtifact(held.content_key, "models", "models/x/y", "d", 1, {"accuracy": 1.0})
    with database.transaction() as session:
        assert units.finish(session, held, artifact, {"scores": rows})
    return submitted


SCORE_COLUMNS = [
    "run", "layer", "position", "token", "variable", "family", "metric", "value", "ci_low", "ci_high", "n_train",
    "n_eval", "ceiling", "control", "given", "status",
]  # fmt: skip


def test_results_come_as_json_and_csv_with_all_digits_and_the_promised_columns(cli, scored):
    rows = cli("results", "last", "--table", "scores", "--json").json
    assert list(rows[0]) == SCORE_COLUMNS
    assert [row["value"] for row in rows] == [0.1 + 0.2, None]
    table = csv.DictReader(io.StringIO(cli("results", "last", "--table", "scores", "--format", "csv").out))
    assert table.fieldnames == SCORE_COLUMNS
    assert [row["value"] for row in table] == ["0.30000000000000004", ""]


def test_results_go_to_a_file_and_leave_the_screen_alone(cli, scored, tmp_path):
    ran = cli("results", "last", "--table", "scores", "--format", "json", "-o", "out/scores.json")
    assert (ran.code, ran.out, ran.err) == (0, "", "2 rows written to out/scores.json\n")
    assert len(json.loads((tmp_path / "out" / "scores.json").read_text())) == 2


def test_a_run_without_rows_gives_an_empty_table_and_says_why(cli, submitted):
    ran = cli("results", "last", "--format", "csv")
    assert (ran.code, ran.out) == (0, "run,name,value,ci_low,ci_high,n\n")
    assert f"{submitted} is active and has no summary rows yet" in ran.err


def test_workers_shows_who_holds_which_unit(cli, submitted, database):
    assert cli("workers", "--json").json == []
    claim(database)
    (row,) = cli("workers", "--json").json
    assert (row["worker"], row["queue"], row["device"], row["state"]) == ("w1", "train", "cpu", "busy")
    assert row["unit"] == f"{submitted} train/model"
    assert cli("workers").out.splitlines()[1].startswith("w1")


def test_the_schema_version_is_told_before_and_after_the_database_exists(cli, home):
    assert (
        "arith.db: not there yet (made by the first submit; newest schema 0006)" in cli("db", "current").out
    )
    assert not home.exists()
    assert cli("db", "upgrade").out.endswith("arith.db: schema 0006\n")
    assert cli("db", "upgrade").code == 0
    assert cli("db", "current").out.endswith("arith.db: schema 0006 (current)\n")


def test_a_database_without_a_schema_is_told_what_it_needs(cli, home, monkeypatch, tmp_path):
    monkeypatch.setenv("ARITH_DATABASE_URL", f"sqlite:///{tmp_path}/own.db")
    assert "schema none (this arithctl needs 0006: run `arithctl db upgrade`)" in cli("db", "current").out
