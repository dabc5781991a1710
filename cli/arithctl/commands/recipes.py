"""`arithctl recipes`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from arithctl.options import complete_recipe, json_option

if TYPE_CHECKING:
    from arithctl.recipes import Recipe


@click.command(epilog="Example:  arithctl recipes opt-general --explain")
@click.argument("name", required=False, shell_complete=complete_recipe)
@click.option("--explain", is_flag=True, help="A table: each value, its source, and what else it could be.")
@json_option
def recipes(name: str | None, explain: bool, as_json: bool) -> None:
    """List the recipes, or print one: its values, and in comments the paper's table that each comes from."""
    from arithctl import recipes as library

    if explain and name is None:
        raise click.UsageError("--explain needs the NAME of a recipe, or a YAML file")
    if name is not None:
        recipe = library.load(name)
        if explain:
            _explain(recipe, as_json)
            return
        spec = recipe.resolve()
        click.echo(json.dumps(spec.model_dump(mode="json"), indent=2) if as_json else recipe.text.rstrip())
        return
    found = [library.load(each) for each in library.names()]
    if as_json:
        click.echo(json.dumps([{"recipe": recipe.name, "title": recipe.title} for recipe in found], indent=2))
        return
    width = max(len(recipe.name) for recipe in found)
    for recipe in found:
        click.echo(f"{recipe.name:<{width}}  {recipe.title}")


def _explain(recipe: Recipe, as_json: bool) -> None:
    from arithctl.output import print_table
    from arithctl.recipes.explain import explain, open_questions

    fields = [row._asdict() for row in explain(recipe)]
    gaps = open_questions(recipe)
    if as_json:
        document = {"recipe": recipe.name, "title": recipe.title, "fields": fields, "gaps": gaps}
        click.echo(json.dumps(document, indent=2))
        return
    shown = [row | {"value": json.dumps(row["value"])} for row in fields]
    print_table(shown, ("field", "value", "source", "gaps", "alternatives"), title=recipe.title)
    click.echo()
    questions = [{"gap": row.pop("letter"), **row} for row in gaps]
    print_table(questions, tuple(questions[0]), title="What the paper leaves open")
