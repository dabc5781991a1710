"""Without any extra, what a machine without a model needs is there: submit, watch, fetch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def light(tmp_path_factory) -> Path:
    """A fresh virtual environment with the base dependencies only."""
    folder = tmp_path_factory.mktemp("light") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*install, str(ROOT)], check=True)
    return folder / "bin"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command_line_works_without_extras_and_without_torch(light, tmp_path):
    def run(*command: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    arithctl = str(light / "arithctl")
    assert "Commands:" in run(arithctl, "--help")
    assert "tiny-specialized" in run(arithctl, "recipes")
    assert "Forecast" in run(arithctl, "submit", "tiny-specialized", "--dry-run")
    run_id = run(arithctl, "submit", "tiny-specialized").strip()
    assert f"{run_id}: active" in run(arithctl, "status", "last")
    doctor = run(arithctl, "doctor")
    assert "torch, transformers not installed -> pip install 'arithctl[trainer]'" in doctor
    find = "import importlib.util as u; print([n for n in ('torch', 'transformers', 'matplotlib') if u.find_spec(n)])"
    assert run(str(light / "python"), "-c", find) == "[]\n"
