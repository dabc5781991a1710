"""`arithctl recipes`."""

from __future__ import annotations

import json

import click

from arithctl.options import json_option


@click.command(epilog="Example:  arithctl recipes tiny-specialized")
@click.argument("name", required=False)
@json_option
def recipes(name: str | None, as_json: bool) -> None:
    """List the recipes, or print one: its values, and in comments the paper's table that each comes from."""
    from arithctl import recipes as library

    if name is not None:
        recipe = library.load(name)
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
