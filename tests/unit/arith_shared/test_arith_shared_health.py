"""A service is healthy while its parts keep their promises to be heard of."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arith_shared.health import Sign, problems


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "arith_shared.health", str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_service_that_has_not_started_is_not_healthy(tmp_path):
    assert problems(tmp_path / "none") == ["not started yet"]
    Sign(tmp_path, "unit", 60).renew()
    assert problems(tmp_path) == ["not started yet"]


@pytest.mark.parametrize("part", ["consumer", "scheduler"])
def test_a_loop_that_is_silent_for_longer_than_it_promised_is_stuck(tmp_path, part):
    Sign(tmp_path / "health", part, 60).renew()
    age(tmp_path / "health" / part, 59)
    assert check(tmp_path / "health").returncode == 0
    age(tmp_path / "health" / part, 75)
    stuck = check(tmp_path / "health")
    assert stuck.returncode == 1
    assert f"{part} (process {os.getpid()}) has been silent for 75 s" in stuck.stderr


def test_a_unit_that_is_silent_is_stuck_unless_its_process_has_died(tmp_path):
    Sign(tmp_path, "consumer", 60).renew()
    unit = tmp_path / "unit"
    Sign(tmp_path, "unit", 60).renew()
    age(unit, 75)
    assert problems(tmp_path) == [f"unit (process {os.getpid()}) has been silent for 75 s"]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    unit.write_text(f"{gone.pid} 60")
    age(unit, 75)
    assert problems(tmp_path) == []


def test_a_unit_that_has_ended_promises_nothing(tmp_path):
    Sign(tmp_path, "consumer", 60).renew()
    sign = Sign(tmp_path, "unit", 0)
    sign.renew()
    sign.end()
    sign.end()
    assert [path.name for path in tmp_path.iterdir()] == ["consumer"]
    assert problems(tmp_path) == []


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sign = Sign(None, "unit", 60)
    sign.renew()
    sign.end()
    assert list(tmp_path.iterdir()) == []
