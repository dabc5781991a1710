"""A shipped recipe is complete, names the source of every value, and gives the paper's where it says so."""

from __future__ import annotations

import re

import pytest
import yaml

from arith_shared.specs import field_paths, parse_spec
from arithctl import recipes

SHIPPED = recipes.names()


def leaves(data, prefix=""):
    for key, value in data.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_resolves_and_leaves_nothing_to_a_default(name):
    recipe = recipes.load(name)
    assert sorted(leaves(recipe.data)) == sorted(field_paths(recipe.resolve().lm.kind))
    assert recipe.resolve().model_dump(mode="json") == parse_spec(recipe.data).model_dump(mode="json")
    assert recipe.title
    assert recipe.description


@pytest.mark.parametrize("name", SHIPPED)
def test_every_value_of_a_shipped_recipe_names_its_source(name):
    recipe = recipes.load(name)
    body = recipe.text.partition("\ntask:")[2]
    values = [line for line in body.splitlines() if re.match(r"\s*[a-z_]+: *[^ #]", line)]
    assert len(values) == len(field_paths(recipe.resolve().lm.kind))
    sources = r"#.*(Kudo et al\. 2024, (table [12]|figure \d|section \d(\.\d)?|appendix [AB])|gap: |ours: )"
    assert [line for line in values if not re.search(sources, line)] == []


def test_the_papers_recipe_has_the_values_of_its_tables():
    spec = recipes.load("opt-specialized").resolve()
    training = spec.lm.training
    assert (spec.lm.layers, spec.lm.heads, spec.lm.width, spec.lm.dropout) == (8, 16, 1024, 0.1)
    assert (training.problems, training.epochs, training.batch_tokens) == (200_000, 500, 16_384)
    assert (training.optimizer, training.betas, training.eps) == ("adam", (0.9, 0.999), 1e-8)
    assert (training.lr, training.warmup_steps, training.clip) == (3.0e-5, 500, 1.0)
    assert (spec.extract.n_train, spec.extract.n_eval) == (10_000, 2_000)
    assert (spec.probe.mlp.epochs, spec.probe.mlp.lr) == (30, 1.0e-3)
    assert (spec.task.max_number, spec.task.names, spec.task.layout) == (99, 25, "eq1")
    assert spec.lm.freeze_embeddings
    assert spec.lm.number_embeddings == "sinusoidal"
    assert training.stop_at_accuracy is None


def test_listing_names_every_recipe_with_its_title(cli):
    assert [line.split()[0] for line in cli("recipes").out.splitlines()] == SHIPPED
    listed = cli("recipes", "--json").json
    assert [row["recipe"] for row in listed] == SHIPPED
    assert all(row["title"] for row in listed)


def test_printing_a_recipe_keeps_its_comments_and_is_a_recipe_again(cli, tmp_path):
    printed = cli("recipes", "opt-specialized").out
    assert "# Kudo et al. 2024, table 2" in printed
    (tmp_path / "mine.yaml").write_text(printed)
    assert recipes.load("mine.yaml").resolve() == recipes.load("opt-specialized").resolve()


def test_printing_a_recipe_as_json_gives_the_resolved_spec(cli):
    assert (
        parse_spec(cli("recipes", "tiny-specialized", "--json").json)
        == recipes.load("tiny-specialized").resolve()
    )


def test_a_file_of_ones_own_needs_only_what_differs_from_the_defaults(cli, tmp_path):
    (tmp_path / "mine.yml").write_text("title: Mine\nlm: {layers: 2}\n")
    recipe = recipes.load("mine.yml")
    assert (recipe.name, recipe.title) == ("mine", "Mine")
    assert recipe.resolve().lm.layers == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=1e-3", "1e-3"),
        ("a.b=[1, 2]", [1, 2]),
        ("a.b=null", None),
        ("a.b=true", True),
        ("a.b=x=y", "x=y"),
        ("a.b=", None),
    ],
)
def test_an_override_is_a_path_and_a_yaml_value(text, value):
    assert recipes.parse_override(text) == ("a.b", value)


def test_overriding_leaves_the_recipe_as_it_was():
    recipe = recipes.load("tiny-specialized")
    before = yaml.safe_dump(dict(recipe.data))
    changed = recipe.resolve([("probe.mlp.epochs", 60)], seed=7)
    assert (changed.probe.mlp.epochs, changed.seed) == (60, 7)
    assert yaml.safe_dump(dict(recipe.data)) == before
