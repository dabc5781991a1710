"""`arithctl doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from arithctl.options import complete_run, json_option


@click.command(epilog="Example:  arithctl doctor")
@click.option(
    "--verify",
    "run",
    metavar="RUN",
    shell_complete=complete_run,
    help="Read every artifact of this run again instead, and compare checksums.",
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Time small runs on this machine instead, about a minute, for the forecasts of `submit --dry-run`.",
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, run: str | None, calibrate: bool, as_json: bool) -> None:
    """Check what is configured, reachable, missing or insecure, and say what to do about it.

    Exits with 3 if something that is configured cannot be used; with --verify, with 1 if a file is damaged.
    """
    if run is not None and calibrate:
        raise click.UsageError("--verify and --calibrate exclude each other")
    if calibrate:
        _calibrate(as_json)
        return
    if run is not None:
        ctx.exit(_verify(run, as_json))
    from arith_shared.settings import load_settings
    from arithctl.checks import examine
    from arithctl.errors import NOT_REACHABLE

    findings = list(examine(load_settings()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            click.echo(f"{finding.verdict:<8} {finding.check:<{width}}  {finding.found}{remedy}")
    if any(finding.verdict == "error" for finding in findings):
        ctx.exit(NOT_REACHABLE)


def _verify(run: str, as_json: bool) -> int:
    """Print what is damaged of a run; the exit code."""
    from rich.console import Console

    from arith_shared.ledger import runs
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database, open_store
    from arithctl.errors import RUN_FAILED
    from arithctl.integrity import verify
    from arithctl.output import human_bytes

    settings = load_settings()
    store = open_store(settings)
    with open_database(settings) as database:
        with database.reading() as session:
            run_id = runs.find(session, run).id
        found = verify(database, store, run_id, Console(stderr=True))
    damaged = [one for one in found if one.damage]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        for one in damaged:
            click.echo(f"damaged  {one.stage} {one.unit}: {one.damage}")
        total = human_bytes(sum(one.size_bytes for one in found))
        remedy = f"; `arithctl resume {run_id} --repair` makes them again" if damaged else ""
        click.echo(f"{run_id}: {len(found)} artifacts, {total} read, {len(damaged)} damaged{remedy}")
    return RUN_FAILED if damaged else 0


def _calibrate(as_json: bool) -> None:
    import os

    from arith_shared.compute import usable_cores
    from arith_shared.settings import load_settings
    from arithctl.forecast.calibration import save
    from arithctl.forecast.measure import calibrate
    from arithctl.forecast.trials import all_trials
    from arithctl.output import human_duration

    def tell(number: int, count: int, name: str) -> None:
        click.echo(f"{number}/{count}  {name}", err=True)

    settings = load_settings()
    click.echo("Timing small runs: about a minute on two cores. Leave the machine alone meanwhile.", err=True)
    if (load := os.getloadavg()[0]) > usable_cores() / 2:
        click.echo(
            f"warning: the load average is {load:.1f}: what else runs now will be in the forecasts", err=True
        )
    found = calibrate(settings, all_trials(), tell)
    path = save(found, settings)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        click.echo(f"calibrated in {human_duration(found.took_s)}: {path}")
