"""`arithctl submit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arithctl.options import complete_recipe

if TYPE_CHECKING:
    from arith_shared.specs import Spec

#: Where `--wait` puts tables and figures.
RESULTS = Path("arithctl-results")


@click.command(epilog="Example:  arithctl submit tiny-specialized -s probe.families=[ridge] --wait")
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
    from arithctl.pretrained import settle
    from arithctl.submission import new_run

    found = library.load(recipe)
    spec = settle(found.resolve([library.parse_override(text) for text in overrides], seed))
    if dry_run:
        _print_plan(spec, as_json)
        return
    settings = load_settings()
    if settings.mode == "compose":
        click.echo(settings.reason, err=True)
    run_id = new_run(settings, spec, recipe=found.name, name=name, key=key)
    if as_json:
        click.echo(json.dumps({"run": run_id}))
    if wait:
        from arithctl.waiting import wait_for

        wait_for(settings, run_id, output, quiet=as_json)
    elif not as_json:
        click.echo(run_id)
        if settings.embedded:
            click.echo(f"nothing works on it yet: `arithctl resume {run_id} --wait` does", err=True)


def _print_plan(spec: Spec, as_json: bool) -> None:
    import yaml

    from arith_shared.ledger.rounds import layer_groups
    from arithctl.forecast import as_rows, forecast, peak_bytes, states_bytes
    from arithctl.output import human_bytes, human_duration, print_table

    stages = forecast(spec)
    resolved = spec.model_dump(mode="json")
    if as_json:
        click.echo(json.dumps({"spec": resolved, "forecast": as_rows(stages)}, indent=2))
        return
    click.echo(yaml.safe_dump(resolved, sort_keys=False).rstrip())
    rows = [
        {
            "stage": stage.stage,
            "units": stage.units,
            "FLOPs": f"{stage.flops:.2e}",
            "disk": human_bytes(stage.size_bytes),
            "time here": human_duration(stage.seconds),
        }
        for stage in stages
    ]
    click.echo()
    print_table(
        rows, list(rows[0]), title="Forecast (time: this machine's processor, to a factor of about two)"
    )
    if not spec.extract.keep_states:
        rounds = len(layer_groups(spec))
        click.echo(
            f"Hidden states: {human_bytes(states_bytes(spec))} in {rounds} round{'s' * (rounds > 1)} of layers, each "
            f"deleted once probed: {human_bytes(peak_bytes(spec))} lie on the disk at one time."
        )
