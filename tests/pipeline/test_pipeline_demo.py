"""The demo in small, through the command line, with the real trainer, extractor and prober."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.recipes import overrides

ARITHCTL = Path(sys.executable).with_name("arithctl")
TIMES = {"ARITH_HEARTBEAT_S": "0.5", "ARITH_LEASE_S": "3", "ARITH_TICK_S": "0.5", "ARITH_RETRY_S": "0.1"}


def start(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    return subprocess.Popen(
        [str(ARITHCTL), "submit", "tiny-specialized", "--wait", *overrides()],
        cwd=folder,
        env=os.environ | TIMES,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def complete(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0, output
    return output


def scores(folder: Path) -> list[dict[str, str]]:
    """All score rows but the run's name."""
    (path,) = folder.glob("arithctl-results/*/scores.csv")
    with path.open(encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name != "run"} for row in csv.DictReader(file)]


def query(folder: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    try:
        with sqlite3.connect(f"file:{folder}/.arith/arith.db?mode=ro", uri=True, timeout=10) as connection:
            return list(connection.execute(sql, values))
    except sqlite3.OperationalError:
        return []


def wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up, f"waited too long for {what}"
        time.sleep(0.1)


def kill_child_of(folder: Path, queue: str) -> None:
    """SIGKILL the pool child in which the queue's worker does its unit."""
    sql = (
        "SELECT workers.pid FROM units JOIN workers ON workers.id = units.worker_id "
        "WHERE units.state = 'running' AND units.queue = ?"
    )
    pid = query(folder, sql, queue)[0][0]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    commands = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    for child, command in commands.items():
        if b"resource_tracker" not in command and b"semaphore_tracker" not in command:
            os.kill(int(child), signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo") / "undisturbed"
    return folder, complete(start(folder))


@pytest.mark.slow
def test_the_demo_prints_a_summary_and_the_paths_of_tables_and_figures(
    undisturbed: tuple[Path, str],
) -> None:
    folder, output = undisturbed
    for stage in ("train", "extract", "probe", "summarize"):
        assert stage in output
    for name in ("accuracy", "max_r/ridge/A", "max_r/mlp/B", "untrained/ridge/C"):
        assert name in output
    listed = [line.split()[-1] for line in output.splitlines() if line.startswith(("table ", "figure "))]
    assert {Path(path).suffix for path in listed} == {".csv", ".png", ".pdf"}
    assert all((folder / path).stat().st_size > 0 for path in listed)
    rows = scores(folder)
    # 2 layers x 20 positions x 3 variables, for mlp, ridge, and ridge on the untrained LM.
    assert len(rows) == 2 * 20 * 3 * 3
    assert {row["n_eval"] for row in rows} == {"200"}


@pytest.mark.slow
def test_workers_killed_with_sigkill_only_delay_the_demo(
    undisturbed: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "disturbed"
    process = start(folder)
    training = "SELECT 1 FROM units WHERE stage = 'train' AND state = 'running' AND progress_done > 150"
    probing = "SELECT 1 FROM units WHERE stage = 'probe' AND state = 'running' AND attempt = 1"
    wait_until(lambda: bool(query(folder, training)), "training to be under way")
    kill_child_of(folder, "train")
    wait_until(lambda: bool(query(folder, probing)), "probing to be under way")
    kill_child_of(folder, "probe")
    complete(process)
    outcomes = query(folder, "SELECT stage, outcome FROM attempts JOIN units ON units.id = attempts.unit_id")
    assert ("train", "lost") in outcomes
    assert ("probe", "lost") in outcomes
    assert scores(folder) == scores(undisturbed[0])


@pytest.mark.slow
def test_a_second_run_reuses_the_model_and_the_hidden_states(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    command = [str(ARITHCTL), "submit", "tiny-specialized", "--wait", "--json", *overrides()]
    again = [*command, "-s", "probe.families=[ridge]", "-o", "second"]
    subprocess.run(again, cwd=folder, check=True, capture_output=True, timeout=200)
    status = [str(ARITHCTL), "status", "last", "--json"]
    view = json.loads(subprocess.run(status, cwd=folder, check=True, capture_output=True).stdout)
    reused = {stage["name"]: (stage["reused"], stage["total"]) for stage in view["stages"]}
    assert reused["train"] == (1, 1)
    assert reused["extract"] == (10, 10)
    # The untrained control's blocks do not depend on which families read the trained LM.
    assert reused["probe"] == (8, 16)
