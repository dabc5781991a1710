"""Rows 18, 19 and 27 of the fault matrix: disks fill up, and bits flip."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from harness.broker import Broker
from harness.deployment import Deployment
from harness.limits import SmallDisk


def test_row_18_a_full_disk_under_the_artifacts_delays_a_run_and_leaves_nothing_behind(
    tmp_path: Path, broker: Broker, unharmed
):
    with SmallDisk(tmp_path / "disk", "1m") as disk:
        artifacts = disk.folder / "artifacts"
        deployment = Deployment(tmp_path / "home", broker.url, artifacts=artifacts, retry_s=2.0)
        try:
            deployment.scheduler()
            worker = deployment.worker()
            deployment.until(lambda: worker.says("ready."))
            run = deployment.insert()
            disk.fill()
            deployment.until(lambda: "attempt failed" in deployment.events(run))
            failure = deployment.view(run).last_error
            assert f"the disk of {artifacts} is full, 0 bytes are free: make room there" in failure
            assert list(deployment.store.paths()) == []
            assert [path for path in (artifacts / "tmp").rglob("*") if path.is_file()] == []
            disk.free()
            unharmed(deployment, run)
        finally:
            deployment.close()


def test_row_19_a_full_disk_under_sqlite_is_told_and_spoils_nothing(tmp_path: Path, broker: Broker, unharmed):
    with SmallDisk(tmp_path / "disk", "2m") as disk:
        file = disk.folder / "arith.db"
        deployment = Deployment(tmp_path / "home", broker.url, database_url=f"sqlite:///{file}")
        try:
            fill(disk, file)
            ran = deployment.command("submit", deployment.recipe())
            assert ran.returncode == 3
            assert ran.stderr.startswith(f"Error: database sqlite:///{file}: database or disk is full")
            assert "Traceback" not in ran.stderr
            disk.free()
            assert integrity(file) == "ok"

            deployment.scheduler()
            worker = deployment.worker()
            gate = deployment.folder / "gate"
            wait = {"call": "harness.mishaps:wait_for", "with": str(gate)}
            deployment.break_units({"trained/probe/00000": wait})
            run = deployment.submit()
            deployment.holder(run, "trained/probe/00000")
            fill(disk, file)
            deployment.until(
                lambda: worker.says(
                    f"heartbeat failed, will try again: database sqlite:///{file}: database or"
                )
            )
            disk.free()
            gate.touch()
            unharmed(deployment, run)
            assert integrity(file) == "ok"
        finally:
            deployment.close()


def fill(disk: SmallDisk, file: Path) -> None:
    """Leave a SQLite database no room, not even in the log that it has already written."""
    with sqlite3.connect(file, timeout=30) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    disk.fill()


def integrity(file: Path) -> str:
    """What SQLite says of the file."""
    connection = sqlite3.connect(file, timeout=30)
    (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return verdict


@pytest.mark.parametrize(
    ("unit", "name", "stage"), [("model", "model.txt", "extract"), ("trained/probe/00000", "states.json", "")]
)
def test_row_27_a_flipped_bit_is_named_and_repaired(deployment, unharmed, unit, name, stage):
    worker = deployment.worker()
    gate = deployment.folder / "gate"
    deployment.break_units(
        {"trained/test/00000": {"call": "harness.mishaps:wait_for", "with": str(gate), "attempts": 9}}
    )
    deployment.scheduler()
    run = deployment.submit()
    deployment.until(lambda: deployment.state(run, unit) == "done")
    deployment.holder(run, "trained/test/00000")
    # A worker that has read the file before would not read it again.
    worker.stop()
    (file,) = deployment.store.folder.glob(f"*/{deployment.unit(run, unit).content_key}/*/{name}")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    gate.touch()
    deployment.worker()
    view = deployment.over(run)
    if stage:
        assert view.state == "failed"
        assert str(file) in view.error
        assert f"`arithctl resume {run} --repair` makes it again ({stage} unit " in view.error
    found = deployment.cli("doctor", "--verify", run)
    assert (found.exit_code, f"{unit}: {file}: expected SHA-256" in found.output) == (1, True)
    repaired = deployment.cli("resume", run, "--repair")
    assert repaired.exit_code == 0
    unharmed(deployment, run)
    assert deployment.cli("doctor", "--verify", run).exit_code == 0
    assert len(deployment.outcomes(run, unit)) == 2
