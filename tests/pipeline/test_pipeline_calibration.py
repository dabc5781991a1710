"""A calibration by the real engine and its real workers, at a size that measures nothing; a run held against it."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from arith_shared.settings import load_settings
from arithctl.forecast import measure
from arithctl.forecast.calibration import load, save
from arithctl.forecast.trials import all_trials
from harness.recipes import overrides
from harness.tiny import ARITHCTL

SMALL = {
    "lm.layers": 2, "lm.heads": 2, "lm.width": 32, "lm.ffn": 64, "lm.training.problems": 640, "extract.n_train": 200,
    "extract.n_eval": 100, "extract.shard_problems": 100, "probe.resamples": 20,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_calibration_times_every_kind_of_work_and_leaves_one_file(home, monkeypatch):
    monkeypatch.setenv("ARITH_MODE", "embedded")
    monkeypatch.setenv("ARITH_THREADS", "1")
    # What is the user's must not be touched.
    monkeypatch.setenv("ARITH_ARTIFACTS", str(home.parent / "mine"))
    settings = load_settings()
    told: list[str] = []
    trials = all_trials(SMALL)[1:3]
    made = measure.calibrate(
        settings, trials, lambda number, count, name: told.append(f"{number}/{count} {name}")
    )
    save(made, settings)
    assert told == ["1/2 tiny", "2/2 chain"]
    assert [path.name for path in home.iterdir()] == ["calibration.json"]
    assert not (home.parent / "mine").exists()
    assert made.device.startswith("cpu")
    assert {stage: set(rates) for stage, rates in made.rates.items()} == {
        "train": {"unit", "opt@32", "mistral@32"},
        "extract": {"start", "unit", "bytes", "opt@32", "mistral@32"},
        "probe": {"start", "unit", "bootstrap", "ridge@32", "mlp@32"},
        "summarize": {"unit"},
    }
    assert load(settings)[0] == made

    env = {name: value for name, value in os.environ.items() if name != "ARITH_ARTIFACTS"}

    def arithctl(*command: str):
        ran = subprocess.run(
            [ARITHCTL, *command, "--json"], env=env, capture_output=True, text=True, check=True
        )
        return json.loads(ran.stdout)

    small = overrides(lm__training__problems=3_200)
    plan = arithctl("submit", "tiny-specialized", *small, "--dry-run")
    assert plan["calibration"].startswith("calibrated on this machine (cpu")
    run = arithctl("submit", "tiny-specialized", *small, "--wait")["run"]
    compared = arithctl("status", run)["forecast"]
    assert [row["forecast_s"] for row in compared] == [stage["seconds"] for stage in plan["forecast"]]
    assert all(row["took_s"] > 0 and row["time_ratio"] > 0 for row in compared)
    # Bytes can be counted; how long it takes on a machine that others use cannot be asserted.
    assert [row["bytes_ratio"] for row in compared[1:3]] == [pytest.approx(1, abs=0.3)] * 2


@pytest.mark.slow
def test_a_trial_that_fails_is_named_with_its_error_and_leaves_nothing(home, monkeypatch):
    monkeypatch.setenv("ARITH_MODE", "embedded")
    monkeypatch.setenv("ARITH_THREADS", "1")
    # An LM of a few steps solves nothing.
    (wide,) = all_trials(SMALL | {"extract.keep": "solved", "extract.max_tries": 1})[:1]
    with pytest.raises(measure.CalibrationError, match=r"the trial wide failed: .*solved"):
        measure.calibrate(load_settings(), [wide], lambda *_: None)
    assert list(home.iterdir()) == []
