"""`arithctl results`."""

from __future__ import annotations

from pathlib import Path

import click

from arithctl.options import run_argument

#: Tables that a run's rows fill.
TABLES = ("summary", "scores", "emergence")
FORMATS = ("table", "json", "csv", "parquet", "markdown", "latex")


@click.command(epilog="Example:  arithctl results last --table scores --format csv -o scores.csv")
@run_argument
@click.option("--table", type=click.Choice(TABLES), default="summary", show_default=True, help="Which table.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="Parquet needs -o.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
def results(run: str, table: str, format_: str, output: Path | None, as_json: bool) -> None:
    """Print or save a result table of a run; an unfinished run gives the rows that it has so far."""
    from arith_shared.ledger import runs, views
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database
    from arithctl.output import COLUMNS, write_rows

    with open_database(load_settings()) as database, database.reading() as session:
        found = runs.find(session, run)
        rows = views.table(session, found.id, table)
    write_rows(rows, COLUMNS[table], "json" if as_json else format_, output)  # type: ignore[arg-type]
    if not rows:
        click.echo(f"{found.id} is {found.state} and has no {table} rows yet", err=True)
    if output is not None:
        click.echo(f"{len(rows)} rows written to {output}", err=True)
