"""The soak in small: `make soak` runs it for as long as one likes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_under_random_faults_lose_nothing_and_double_nothing():
    command = [sys.executable, "-m", "soak", "--minutes", "0.7", "--seed", "7", "--real-share", "0", "--json"]
    ran = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    report = json.loads(ran.stdout)
    (part,) = report["parts"]
    found = part["found"]
    assert (report["seed"], report["clean"], part["name"]) == (7, True, "fake")
    assert (found["lost"], found["doubled"], found["differing"], found["violations"]) == (0, 0, [], [])
    # It would be no soak if nothing was hit, or nothing was done.
    assert sum(part["faults"].values()) > 0
    assert found["units_done"] == 11 * found["runs"]["done"] > 0
