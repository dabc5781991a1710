"""Submitting checks first and writes then; a dry run only tells."""

from __future__ import annotations

import json

import pytest
import yaml

from arith_shared.ledger import runs
from arithctl import recipes


def dry_run(cli, *arguments):
    return cli("submit", "tiny-specialized", "--dry-run", "--json", *arguments).json


def test_a_dry_run_prints_the_spec_and_a_forecast_and_creates_nothing(cli, tmp_path):
    ran = cli("submit", "tiny-specialized", "--dry-run")
    assert ran.code == 0
    spec, _, table = ran.out.partition("\nForecast")
    assert yaml.safe_load(spec) == recipes.load("tiny-specialized").resolve().model_dump(mode="json")
    assert table.splitlines()[1].split() == ["stage", "units", "FLOPs", "disk", "time", "here"]
    firsts = [line.split()[0] for line in table.splitlines()[2:]]
    assert firsts == ["train", "extract", "probe", "summarize", "in", "Time:"]
    assert "at most" in table.splitlines()[2]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_as_json_has_units_flops_bytes_and_seconds_of_every_stage(cli):
    plan = dry_run(cli)
    assert plan["spec"] == recipes.load("tiny-specialized").resolve().model_dump(mode="json")
    assert [set(stage) for stage in plan["forecast"]] == [
        {"stage", "units", "flops", "size_bytes", "seconds", "at_most", "steps", "fixed_s"}
    ] * 4


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("probe.mlp.epochs=60", ("probe", "mlp", "epochs"), 60),
        ("lm.training.lr=1e-3", ("lm", "training", "lr"), 1e-3),
        ("lm.training.lr=0.002", ("lm", "training", "lr"), 0.002),
        ("probe.families=[ridge]", ("probe", "families"), ["ridge"]),
        ("lm.training.betas=[0.8,0.9]", ("lm", "training", "betas"), [0.8, 0.9]),
        ("lm.training.stop_at_accuracy=null", ("lm", "training", "stop_at_accuracy"), None),
        ("lm.freeze_embeddings=false", ("lm", "freeze_embeddings"), False),
        ("extract.layers=[0,3]", ("extract", "layers"), [0, 3]),
        ("seed=12", ("seed",), 12),
    ],
)
def test_an_override_changes_its_field_and_nothing_else(cli, override, path, value):
    expected = recipes.load("tiny-specialized").resolve().model_dump(mode="json")
    group = expected
    for name in path[:-1]:
        group = group[name]
    group[path[-1]] = value
    assert dry_run(cli, "-s", override)["spec"] == expected


def test_the_last_override_of_a_field_wins_and_the_seed_option_over_all(cli):
    assert dry_run(cli, "-s", "task.names=9", "-s", "task.names=8")["spec"]["task"]["names"] == 8
    assert dry_run(cli, "-s", "seed=1", "--seed", "2")["spec"]["seed"] == 2


def test_submitting_prints_the_run_and_says_that_nothing_works_on_it_yet(cli):
    ran = cli("submit", "tiny-specialized")
    assert ran.code == 0
    assert ran.out.startswith("tiny-specialized-")
    assert f"`arithctl resume {ran.out.strip()} --wait`" in ran.err


def test_a_submitted_run_keeps_spec_name_recipe_and_provenance(cli, database):
    run_id = cli("submit", "tiny-specialized", "--seed", "5", "--name", "a note", "--json").json["run"]
    with database.reading() as session:
        run = runs.find(session, run_id)
    assert (run.recipe, run.name, run.state) == ("tiny-specialized", "a note", "active")
    assert run.spec == recipes.load("tiny-specialized").resolve(seed=5).model_dump(mode="json")
    assert run.provenance["packages"].keys() >= {"numpy", "celery", "SQLAlchemy"}
    assert run.provenance["arithctl"]


def test_state_lies_where_the_home_setting_says(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("ARITH_HOME", str(tmp_path / "elsewhere"))
    assert cli("submit", "tiny-specialized").code == 0
    assert [item.name for item in tmp_path.iterdir()] == ["elsewhere"]


def config_folder(folder, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))


def test_a_folder_of_another_lm_is_refused_with_the_fields_to_set(cli, tmp_path):
    config_folder(tmp_path / "lm", num_hidden_layers=3, hidden_size=128)
    ran = cli("submit", "mistral-cot", "-s", "lm.path=lm", "--dry-run")
    assert ran.code == 2
    assert "submit with -s lm.layers=3 -s lm.width=128" in ran.err


def test_a_folder_is_handed_to_workers_as_an_absolute_path(cli, tmp_path):
    config_folder(tmp_path / "lm", n_layer=3, n_embd=128)
    shape = ("-s", "lm.layers=3", "-s", "lm.width=128")
    plan = cli("submit", "mistral-cot", "-s", "lm.path=lm", *shape, "--dry-run", "--json").json
    assert plan["spec"]["lm"]["path"] == str(tmp_path / "lm")


def test_what_is_no_lm_is_refused(cli, tmp_path):
    (tmp_path / "lm").mkdir()
    ran = cli("submit", "mistral-cot", "-s", "lm.path=lm", "--dry-run")
    assert (ran.code, "is not the folder of an LM" in ran.err) == (2, True)


def test_a_dry_run_tells_what_lies_on_the_disk_at_one_time(cli):
    told = cli("submit", "mistral-cot", "--dry-run").out.splitlines()[-1]
    assert told == (
        "Hidden states: 149 GB in 9 rounds of layers, each deleted once probed: 18.1 GB lie on the disk at one time."
    )
