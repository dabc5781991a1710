"""A shipped recipe is complete, names the source of every value, and gives the paper's where it says so."""

from __future__ import annotations

import re

import pytest
import yaml

from arith_shared.specs import field_paths, parse_spec
from arithctl import recipes
from arithctl.recipes.explain import explain, open_questions
from arithctl.recipes.gaps import GAPS

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


def test_the_papers_general_recipe_differs_from_the_specialised_one_where_table_2_does():
    special, general = (dict(flat(recipes.load(f"opt-{name}").data)) for name in ("specialized", "general"))
    assert {name: general[name] for name in general if general[name] != special[name]} == {
        "task.training": "general",
        "lm.training.problems": 1_000_000,
        "lm.training.epochs": 50,
        "lm.training.lr": 1.0e-4,
    }


def flat(data, prefix=""):
    for key, value in data.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize("name", SHIPPED)
def test_every_field_of_a_shipped_recipe_is_explained(name):
    recipe = recipes.load(name)
    rows = explain(recipe)
    assert {row.field: row.value for row in rows} == dict(flat(recipe.resolve().model_dump(mode="json")))
    assert [row.field for row in rows if row.source == "default of the spec" or not row.source] == []
    open_choices = ("lm.kind", "lm.path", "lm.revision", "extract.layers", "extract.positions")
    numbers = [row for row in rows if isinstance(row.value, int | float) and not isinstance(row.value, bool)]
    assert [row.field for row in numbers if not row.alternatives and row.field not in open_choices] == []


def test_an_explanation_says_what_the_recipe_and_the_types_say():
    rows = {row.field: row for row in explain(recipes.load("opt-specialized"))}
    lr = rows["lm.training.lr"]
    assert (lr.value, lr.paper, lr.source, lr.alternatives) == (
        3e-5, "table 2", "Kudo et al. 2024, table 2: the peak", "> 0"
    )  # fmt: skip
    assert (rows["lm.ffn"].paper, rows["lm.ffn"].gaps) == (None, "k")
    assert rows["lm.ffn"].alternatives == "Hugging Face's default 3072"
    assert rows["task.training"].alternatives == "general"
    assert rows["task.layout"].paper == "section 2.1, equation 1"
    assert rows["lm.freeze_embeddings"].alternatives == "false"
    assert rows["extract.keep"].gaps == "o, s"
    # What departs from the paper has no place in it.
    tiny = {row.field: row for row in explain(recipes.load("tiny-specialized"))}
    assert (tiny["lm.layers"].value, tiny["lm.layers"].paper) == (3, None)
    assert tiny["lm.layers"].source == "ours: small; Kudo et al. 2024, appendix A.2: 8"


def test_every_gap_of_the_paper_is_decided_by_a_field_of_some_shipped_recipe():
    assert [gap.letter for gap in GAPS] == list("abcdefghijklmnopqrstuvw")
    assert all(gap.question.endswith("?") and gap.resolution.endswith(".") for gap in GAPS)
    decided = {row["letter"] for name in SHIPPED for row in open_questions(recipes.load(name))}
    assert decided == {gap.letter for gap in GAPS}


def test_every_field_that_decides_a_gap_exists():
    there = {row.field for name in SHIPPED for row in explain(recipes.load(name))}
    assert {field for gap in GAPS for field in gap.fields} <= there


def test_explaining_prints_a_table_and_the_open_questions(cli):
    printed = cli("recipes", "opt-specialized", "--explain").out
    assert re.search(r"lm\.training\.epochs +500 +Kudo et al\. 2024, table 2 +> 0", printed)
    assert "What the paper leaves open" in printed
    assert "Adam, or AdamW with decay?" in printed
    found = cli("recipes", "opt-specialized", "--explain", "--json").json
    assert found["fields"][0]["field"] == "task.layout"
    assert {"letter", "question", "resolution", "fields"} == set(found["gaps"][0])


def test_explaining_needs_a_recipe(cli):
    ran = cli("recipes", "--explain")
    assert (ran.code, "--explain needs the NAME" in ran.err) == (2, True)


def test_a_file_of_ones_own_is_explained_with_its_comments_and_the_defaults(cli, tmp_path):
    (tmp_path / "mine.yml").write_text("title: Mine\nlm:\n  layers: 2  # as in my notes; or 4\n")
    rows = {row.field: row for row in explain(recipes.load("mine.yml"))}
    assert (rows["lm.layers"].source, rows["lm.layers"].alternatives) == ("as in my notes", "4")
    assert rows["lm.heads"].source == "default of the spec"


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
