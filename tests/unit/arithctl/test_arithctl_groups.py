"""Groups on the command line without any work done: submit, ask, cancel, resume, delete."""

from __future__ import annotations

import pytest


@pytest.fixture
def group(cli):
    return cli("submit", "tiny-specialized", "--sweep", "seed=3,4", "--json").json


def test_a_dry_run_of_a_sweep_forecasts_every_run_and_creates_nothing(cli, tmp_path):
    plan = cli("submit", "tiny-specialized", "--sweep", "seed=1,2", "--dry-run", "--json").json
    assert [(run["swept"], run["spec"]["seed"]) for run in plan["runs"]] == [
        ({"seed": 1}, 1),
        ({"seed": 2}, 2),
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_runs_have_in_common_is_forecast_once(cli):
    def together(sweep):
        return cli("submit", "tiny-specialized", "--sweep", sweep, "--dry-run").out.splitlines()[-1]

    # Two seeds share nothing; two numbers of shuffles share the LM and its hidden states.
    assert float(together("seed=1,2").split()[1]) > 1.8 * float(together("probe.controls=1,2").split()[1])


def test_a_group_is_cancelled_resumed_and_deleted_as_one(cli, group):
    name, (first, second) = group["group"], group["runs"]
    assert cli("cancel", name).out == f"{first}: cancelled\n{second}: cancelled\n"
    assert cli("status", name, "--json").json["state"] == "cancelled"
    resumed = cli("resume", name).err.splitlines()
    assert resumed == [f"{run}: active, units queued again: 1" for run in (first, second)]
    refused = cli("delete", name, "--yes")
    assert (refused.code, "has active runs" in refused.err) == (2, True)
    cli("cancel", name)
    assert cli("delete", name, "--yes").code == 0
    assert cli("status", name).code == 2


def test_status_lists_the_group_of_each_run_and_what_is_swept(cli, submitted, group):
    rows = {row["run"]: row["group"] for row in cli("status", "--json").json}
    assert rows == {submitted: None, **dict.fromkeys(group["runs"], group["group"])}
    assert group["group"] in cli("status").out
    shown = cli("status", group["group"]).out.splitlines()
    assert shown[0] == f"{group['group']}: active, 0 of 2 runs done"
    assert [line.split()[1] for line in shown[2:]] == ["seed=3", "seed=4"]


def test_a_sweep_repeated_with_its_key_starts_nothing(cli):
    once = cli("submit", "tiny-specialized", "--sweep", "seed=1,2", "--key", "k", "--json").json
    again = cli("submit", "tiny-specialized", "--sweep", "seed=1,2", "--key", "k", "--json")
    assert again.json == once
    assert "was submitted with this key before" in again.err
    assert cli("submit", "tiny-specialized", "--sweep", "seed=1,2,3", "--key", "k").code == 2
    assert len(cli("status", "--json").json) == 2


def test_means_and_rows_of_a_run_do_not_share_a_table(cli, submitted, group):
    ran = cli("results", group["group"], submitted)
    assert (ran.code, f"those of {submitted} are not" in ran.err) == (2, True)
    assert cli("results", group["group"], submitted, "--each", "--format", "csv").code == 0


def test_a_group_without_rows_says_what_to_wait_for(cli, group):
    ran = cli("results", group["group"], "--format", "csv")
    assert ran.out == "group,condition,name,mean,ci_low,ci_high,runs,runs_asked\n"
    assert all(f"{run} is active and has no summary rows yet" in ran.err for run in group["runs"])
    assert "has no scores to draw yet" in cli("figures", group["group"]).err
