"""`arithctl workers`."""

from __future__ import annotations

import json

import click

from arithctl.options import json_option


@click.command(epilog="Example:  arithctl workers")
@json_option
def workers(as_json: bool) -> None:
    """Show which workers are alive, their device, and the unit that each one holds."""
    from arith_shared.ledger import workers as registry
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database
    from arithctl.output import print_table

    with open_database(load_settings()) as database, database.reading() as session:
        rows = [
            {
                "worker": worker.id,
                "queue": worker.queue,
                "host": worker.host,
                "pid": worker.pid,
                "device": worker.device or "-",
                "state": "stopping" if worker.draining else ("busy" if unit else "idle"),
                "unit": f"{unit.run_id} {unit.stage}/{unit.key}" if unit else "-",
                "seen_s": round(age, 1),
            }
            for worker, unit, age in registry.alive(session)
        ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        print_table(rows, list(rows[0]))
    else:
        click.echo(
            "no workers are alive (the embedded ones live only while `submit --wait` or `resume --wait` runs)"
        )
