"""A real sweep of two seeds through the command line: every command that takes a run takes the group."""

from __future__ import annotations

import csv
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.recipes import overrides
from harness.tiny import ARITHCTL, ENV

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]
OPTIONS = overrides(lm__training__problems=3_200, probe__families="[ridge]")


@dataclass(frozen=True)
class Swept:
    """A folder with a finished group of two runs."""

    folder: Path
    group: str
    runs: list[str]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(ARITHCTL), *arguments]
        return subprocess.run(command, cwd=self.folder, env=ENV, capture_output=True, text=True)

    def json(self, *arguments: str):
        ran = self.command(*arguments, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Swept:
    nobody = Swept(tmp_path_factory.mktemp("sweep"), "", [])
    made = nobody.json(
        "submit", "tiny-specialized", *OPTIONS, "--sweep", "seed=1,2", "--wait", "-o", "results"
    )
    return Swept(nobody.folder, made["group"], made["runs"])


def test_a_sweep_is_worked_on_as_one_group_and_leaves_means_and_every_run(swept):
    shown = swept.json("status", swept.group)
    assert (shown["group"], shown["state"]) == (swept.group, "done")
    assert [(row["run"], row["swept"], row["state"]) for row in shown["runs"]] == [
        (run, {"seed": seed}, "done") for seed, run in enumerate(swept.runs, start=1)
    ]
    assert "2 of 2 runs done" in swept.command("status", "last").stdout
    files = {str(path.relative_to(swept.folder / "results")) for path in swept.folder.glob("results/*/*")}
    assert {f"{swept.group}/mean-summary.csv", *(f"{run}/scores.csv" for run in swept.runs)} <= files


@pytest.mark.parametrize("table", ["summary", "scores"])
def test_means_over_seeds_have_the_interval_that_scipy_gives(swept, table):
    keys = ("name",) if table == "summary" else ("layer", "position", "variable", "family")
    single = {}
    for row in swept.json("results", swept.group, "--table", table, "--each"):
        single.setdefault(tuple(row[key] for key in keys), []).append(row["value"])
    means = swept.json("results", swept.group, "--table", table)
    assert len(means) == len(single)
    for row in means:
        values = [value for value in single[tuple(row[key] for key in keys)] if value is not None]
        assert (row["runs"], row["runs_asked"]) == (len(values), 2)
        # A constant hidden state has no correlation; scipy's bounds are NaN where both runs agree exactly.
        if len(set(values)) == 2:
            assert row["mean"] == pytest.approx(np.mean(values))
            low, high = stats.t.interval(0.95, 1, np.mean(values), stats.sem(values))
            assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low, 1e-6), pytest.approx(high, 1e-6))
    assert sum(row["runs"] == 2 for row in means) > len(means) / 2


def test_a_group_says_how_many_of_its_runs_computed_a_value_at_all(swept):
    single = swept.json("results", swept.group, "--table", "emergence", "--each")
    emerged = [
        (row["variable"], row["family"]) for row in single if row["offset_from_own_equation"] is not None
    ]
    for row in swept.json("results", swept.group, "--table", "emergence"):
        assert row["runs_asked"] == 2
        assert row["runs"] == emerged.count((row["variable"], row["family"]))


def test_figures_of_a_group_draw_the_means(swept):
    ran = swept.command("figures", swept.group, "-o", "figures", "--format", "png")
    assert ran.returncode == 0, ran.stderr
    drawn = [path.name for path in (swept.folder / "figures").iterdir()]
    assert f"{swept.group}-ridge-fig2.png" in drawn
    with (swept.folder / "figures" / f"{swept.group}-ridge-fig2.csv").open() as file:
        rows = {
            (row["layer"], row["position"], row["variable"]): row["value"] for row in csv.DictReader(file)
        }
    for row in swept.json("results", swept.group, "--table", "scores"):
        if row["family"] == "ridge":
            drawn = rows[str(row["layer"]), str(row["position"]), row["variable"]]
            assert (float(drawn) if drawn else None) == pytest.approx(row["mean"])


def test_the_report_of_a_group_has_all_its_runs(swept):
    ran = swept.command("report", swept.group, "-o", "report.html", "--points", "0")
    assert ran.returncode == 0, ran.stderr
    text = (swept.folder / "report.html").read_text()
    assert all(run in text for run in swept.runs)


def test_groups_are_compared_by_seed(swept):
    made = swept.json(
        "submit", "tiny-specialized", *OPTIONS, "--sweep", "probe.controls=1,2", "--sweep", "seed=1,2", "--wait",
        "-o", "results",
    )  # fmt: skip
    assert [run["swept"] for run in swept.json("status", made["group"])["runs"]] == [
        {"probe.controls": controls, "seed": seed} for controls in (1, 2) for seed in (1, 2)
    ]
    rows = swept.json("compare", made["group"])
    assert {row["baseline"] for row in rows} == {f"{made['group']}: probe.controls=1"}
    assert {row["run"] for row in rows} == {f"{made['group']}: probe.controls=2"}
    # The number of shuffles changes controls only: no difference is more than the rounding of a float.
    differences = [row["difference"] for row in rows if row["difference"] is not None]
    assert len(differences) > len(rows) / 2
    assert max(map(abs, differences)) < 1e-9
    drawn = swept.command("figures", made["group"], "-o", "two", "--format", "png")
    assert drawn.returncode == 0, drawn.stderr
    assert {f"{made['group']}-1-ridge-fig2.png", f"{made['group']}-2-ridge-fig2.png"} <= {
        path.name for path in (swept.folder / "two").iterdir()
    }
