"""Forecasts after a calibration, held against what whole runs took and wrote.

`doctor --calibrate`, then `submit --dry-run`, `submit --wait` and `status` of each recipe, all in one empty folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from bench.command import Options, main
from bench.machine import Machine
from bench.report import Report, Table, at_most
from bench.whole_run import QUICK, overrides, settings

RECIPES = ("tiny-specialized", "tiny-cot")
#: Largest error of a forecast, as a share of it.
WITHIN = 0.3
#: The command with trials that show that it works, and measure nothing.
QUICK_CALIBRATION = """
from arith_shared.settings import load_settings
from arithctl.forecast import calibration, measure, trials
small = {"lm.layers": 2, "lm.heads": 2, "lm.width": 32, "lm.ffn": 64, "lm.training.problems": 640,
         "extract.n_train": 200, "extract.n_eval": 100, "extract.shard_problems": 100, "probe.resamples": 20}
settings = load_settings()
calibration.save(measure.calibrate(settings, trials.all_trials(small)[1:3], lambda *_: None), settings)
"""


def measure(options: Options, machine: Machine) -> Report:
    """A calibration, then each recipe from forecast to rows."""
    report = Report(
        "Forecasts after a calibration: time and bytes of whole runs, embedded",
        "`arithctl doctor --calibrate`, then for each recipe `submit --dry-run`, `submit --wait`, `status --json`. "
        "A training may stop early, so its forecast is an upper bound; it is held against the steps that were taken. "
        "`in all` is from submission to the last row, start of broker and workers included.",
    )
    with tempfile.TemporaryDirectory() as folder:
        calibrate = (
            ["-c", QUICK_CALIBRATION] if options.quick else ["-m", "arithctl", "doctor", "--calibrate"]
        )
        python(folder, *calibrate)
        with open(f"{folder}/.arith/calibration.json", encoding="utf-8") as file:
            took_s = json.load(file)["took_s"]
        for recipe in RECIPES[:1] if options.quick else RECIPES:
            sys.stdout.write(f"  {recipe}\n")
            sys.stdout.flush()
            table, errors = _one(folder, recipe, overrides(QUICK if options.quick else {}))
            report.tables.append(table)
            report.targets += [
                at_most(f"{recipe}: error of the forecast {what}", WITHIN, error, _WHY, unit="")
                for what, error in errors.items()
            ]
    report.notes.append(f"The calibration took {took_s:.0f} s.")
    return report


_WHY = "the machine was shared: load during calibration and run was not the same"


def _one(folder: str, recipe: str, fields: list[str]) -> tuple[Table, dict[str, float]]:
    """Forecast and actual figures by stage and in all, and the errors of the latter."""

    def ask(*command: str) -> Any:
        return json.loads(python(folder, "-m", "arithctl", *command, "--json"))

    plan = ask("submit", recipe, *fields, "--dry-run")
    load = os.getloadavg()[0]
    run = ask("submit", recipe, *fields, "--wait")["run"]
    seen = ask("status", run)
    rows = seen["forecast"]
    stages = sum(row["seconds"] for row in plan["forecast"])
    between = plan["seconds"] - stages
    whole = {
        "stage": "in all",
        "forecast_s": plan["seconds"],
        "for_done_s": sum(row["for_done_s"] for row in rows) + between,
        "took_s": seen["elapsed_s"],
        "forecast_bytes": sum(row["forecast_bytes"] for row in rows),
        "written_bytes": sum(row["written_bytes"] for row in rows),
        "note": f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after",
    }
    table = Table(recipe, [_row(row) for row in (*rows, whole)])
    errors = {
        "of time": abs(whole["took_s"] / whole["for_done_s"] - 1),
        "of bytes": abs(whole["written_bytes"] / whole["forecast_bytes"] - 1),
    }
    return table, errors


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": row["stage"],
        "forecast s, at most": row["forecast_s"],
        "for the work done": row["for_done_s"],
        "took s": row["took_s"],
        "time ratio": row["took_s"] / row["for_done_s"] if row["for_done_s"] else "",
        "forecast MB": row["forecast_bytes"] / 1e6,
        "written MB": row["written_bytes"] / 1e6,
        "bytes ratio": row["written_bytes"] / row["forecast_bytes"] if row["forecast_bytes"] else "",
        "note": row["note"],
    }


def python(folder: str, *arguments: str) -> str:
    """Run the interpreter in `folder` without any setting of the person's; what it prints."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=settings(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[:4])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main("forecast", measure))
