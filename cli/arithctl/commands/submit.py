"""`arithctl submit`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from arithctl.options import complete_recipe

#: Where `--wait` puts tables and figures.
RESULTS = Path("arithctl-results")


@click.command(
    epilog="Example:  arithctl submit tiny-specialized -s probe.families=[ridge] --wait\n\n"
    "Sweep:    arithctl submit tiny-specialized --sweep seed=1,2,3 --wait"
)
@click.argument("recipe", shell_complete=complete_recipe)
@click.option(
    "-s",
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Override a field, e.g. probe.mlp.epochs=60; repeatable.",
)
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="FIELD=V,V,...",
    help="One run for each value, e.g. seed=1,2,3; repeated, for each combination. They make a group.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), help="The seed from which every random choice follows."
)
@click.option("--name", help="A note that `status` shows beside the run.")
@click.option(
    "--key",
    metavar="TEXT",
    help="Submitted again with the same key, nothing is started: the first run is named.",
)
@click.option(
    "--wait", is_flag=True, help="Show progress until the run is over, then print and draw its results."
)
@click.option(
    "--dry-run", is_flag=True, help="Print the resolved spec and a forecast of its cost, and start nothing."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=RESULTS,
    show_default=True,
    help="Folder for the tables and figures of --wait.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def submit(
    recipe: str,
    overrides: tuple[str, ...],
    sweeps: tuple[str, ...],
    seed: int | None,
    name: str | None,
    key: str | None,
    wait: bool,
    dry_run: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Start a run of RECIPE: the name of one that ships with arithctl, or a YAML file.

    The services of the deployment that ARITH_BROKER_URL names do the work, or those of this folder's docker
    compose stack if it runs. Otherwise everything runs on this machine while --wait waits.
    """
    from arith_shared.settings import load_settings
    from arithctl import recipes as library
    from arithctl.plans import print_plan, print_sweep
    from arithctl.pretrained import settle
    from arithctl.submission import new_group, new_run
    from arithctl.sweeps import expand, parse_sweep

    found = library.load(recipe)
    fixed = [library.parse_override(text) for text in overrides]
    members = expand(found, fixed, seed, [parse_sweep(text) for text in sweeps]) if sweeps else []
    spec = settle(found.resolve(fixed, seed)) if not sweeps else members[0].spec
    settings = load_settings()
    if dry_run:
        print_sweep(settings, members, as_json) if sweeps else print_plan(settings, spec, as_json)
        return
    if settings.mode == "compose":
        click.echo(settings.reason, err=True)
    if sweeps:
        made, runs = new_group(settings, members, recipe=found.name, name=name, key=key)
        facts = {"group": made, "runs": runs}
    else:
        made = new_run(settings, spec, recipe=found.name, name=name, key=key)
        facts = {"run": made}
    if as_json:
        click.echo(json.dumps(facts))
    if wait:
        from arithctl.waiting import wait_for

        wait_for(settings, made, output, quiet=as_json)
    elif not as_json:
        click.echo(made)
        if settings.embedded:
            click.echo(f"nothing works on it yet: `arithctl resume {made} --wait` does", err=True)
