"""`arithctl status`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from arithctl.options import complete_run, json_option

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from arith_shared.ledger.database import Database
    from arith_shared.ledger.groups import Named, Overview
    from arith_shared.ledger.views import RunView
    from arith_shared.settings import Settings
    from arithctl.forecast.actual import Comparison

#: Runs that `--watch` without a name shows.
_NEWEST = 20


@click.command(epilog="Example:  arithctl status last --watch")
@click.argument("run", required=False, shell_complete=complete_run)
@click.option("--watch", "live", is_flag=True, help="Keep showing until all is over; Ctrl-C stops looking.")
@json_option
def status(run: str | None, live: bool, as_json: bool) -> None:
    """List the newest runs, or show a run or group: stages, units, rate, ETA, device, last error."""
    from arith_shared.ledger import groups, views
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database

    settings = load_settings()
    with open_database(settings) as database:
        if live and not as_json:
            _watch(database, settings, run)
            return
        with database.reading() as session:
            if run is None:
                _print_list(views.run_list(session), as_json)
                return
            named = groups.find(session, run)
        _print_named(database, named, settings, as_json)


def _print_named(database: Database, named: Named, settings: Settings, as_json: bool) -> None:
    from arith_shared.ledger import groups, views
    from arithctl.forecast import actual

    with database.reading() as session:
        if named.is_group:
            _print_group(named.id, groups.overview(session, [one.id for one in named.runs]), as_json)
            return
        view = views.run_view(session, named.id)
        compared = actual.compare(session, named.id)
    trouble = _broker_trouble(settings, view)
    if as_json:
        facts = {"broker": trouble, "forecast": actual.as_rows(compared)}
        click.echo(json.dumps(_as_json(view) | facts, indent=2))
        return
    _print_run(view)
    _print_forecast(compared)
    if trouble is not None:
        click.echo(f"  {trouble}; units in work end, the rest waits until it is back")


def _watch(database: Database, settings: Settings, run: str | None) -> None:
    """Show a run, a group or the newest runs until they are over, or the person has seen enough."""
    from contextlib import suppress

    from rich.console import Console

    from arith_shared.ledger import groups, views
    from arithctl.progress import watch

    console = Console(highlight=False)
    with database.reading() as session:
        named = groups.find(session, run) if run is not None else None
    ids = [one.id for one in named.runs] if named else []
    title = "newest runs" if named is None else named.id if named.is_group else ""

    def wanted(session: Session) -> list[str]:
        return ids or [row["run"] for row in views.run_list(session, limit=_NEWEST)]

    with suppress(KeyboardInterrupt):
        watch(database, wanted, console, lambda: None, title=title)
        if named is not None and not console.is_terminal:
            _print_named(database, named, settings, False)


def _broker_trouble(settings: Settings, view: RunView) -> str | None:
    """What is wrong with the broker, where services listen to one and the run still needs it."""
    from arith_shared import queue
    from arith_shared.errors import UnreachableError
    from arith_shared.ledger.tables import RUN_OVER

    if settings.embedded or view.state in RUN_OVER:
        return None
    sender = queue.Sender(settings.broker)
    try:
        sender.ping()
    except UnreachableError as error:
        return str(error)
    finally:
        sender.close()
    return None


def _as_json(view: RunView) -> dict[str, Any]:
    return {"run": view.id, **{key: value for key, value in asdict(view).items() if key != "id"}}


def _print_list(rows: list[dict[str, Any]], as_json: bool) -> None:
    from arithctl.output import ago, human_duration, print_table

    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("no runs yet; start one with `arithctl submit RECIPE`")
        return
    grouped = any(row["group"] for row in rows)
    shown = [
        {
            "run": row["run"],
            "state": row["state"],
            "stage": row["stage"] or "-",
            "units": f"{row['done']}/{row['total']}",
            "reused": row["reused"],
            "submitted": ago(row["age_s"]),
            "took": human_duration(row["elapsed_s"]),
            "name": row["name"] or "",
            **({"group": row["group"] or ""} if grouped else {}),
        }
        for row in rows
    ]
    print_table(shown, list(shown[0]))


def _print_group(group: str, rows: list[Overview], as_json: bool) -> None:
    from arith_shared.analysis.sweep import words
    from arith_shared.ledger.groups import state_of
    from arithctl.output import human_duration, print_table

    state = state_of({row.state for row in rows})
    if as_json:
        click.echo(json.dumps({"group": group, "state": state, "runs": list(map(asdict, rows))}, indent=2))
        return
    over = sum(row.state == "done" for row in rows)
    shown = [
        {
            "run": row.run,
            "swept": words(row.swept),
            "state": row.state,
            "units": f"{row.done}/{row.total}",
            "took": human_duration(row.elapsed_s),
        }
        for row in rows
    ]
    click.echo(f"{group}: {state}, {over} of {len(rows)} runs done")
    print_table(shown, list(shown[0]))


def _print_run(view: RunView) -> None:
    from arithctl.output import human_duration
    from arithctl.progress import describe

    note = f" ({view.name})" if view.name else ""
    click.echo(f"{view.id}{note}: {view.state}, {human_duration(view.elapsed_s)}")
    for stage in view.stages:
        device = f"  on {stage.device}" if stage.device else ""
        click.echo(f"  {stage.name:<10} {stage.state:<8} {describe(stage)}{device}")
    if view.error:
        click.echo(f"  error: {view.error}")
    elif view.last_error and view.state != "done":
        click.echo(f"  last error: {view.last_error} (`arithctl logs {view.id} --errors`)")


def _print_forecast(compared: list[Comparison]) -> None:
    """What was forecast beside what it took and wrote; nothing while nothing was done."""
    from arithctl.output import human_bytes, human_duration, print_table

    if not any(one.took_s is not None for one in compared):
        return
    calibrated = any(one.forecast_s is not None for one in compared)
    rows = []
    for one in compared:
        time = {
            "forecast": f"{'at most ' if one.at_most else ''}{human_duration(one.forecast_s)}",
            "for what was done": human_duration(one.for_done_s),
        }
        rows.append(
            {
                "stage": one.stage,
                **(time if calibrated else {}),
                "at work": human_duration(one.took_s),
                **({"time ratio": _times(one.time_ratio)} if calibrated else {}),
                "disk forecast": human_bytes(one.forecast_bytes),
                "written": human_bytes(one.written_bytes),
                "disk ratio": _times(one.bytes_ratio),
                "note": one.note,
            }
        )
    click.echo()
    print_table(rows, list(rows[0]), title="Forecast at submission, and what it came to")
    if not calibrated:
        click.echo("No time was forecast: there was no calibration (`arithctl doctor --calibrate`).")


def _times(ratio: float | None) -> str:
    return f"{ratio:.2f}" if ratio is not None else "-"
