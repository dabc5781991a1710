"""`arithctl export`."""

from __future__ import annotations

from pathlib import Path

import click

from arithctl.options import complete_run


@click.command(epilog="Example:  arithctl export last -o run.zip")
@click.argument("run", shell_complete=complete_run)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file; RUN.zip in this folder if not given.",
)
@click.option(
    "--states",
    is_flag=True,
    help="Put hidden states, problems and predictions in too: large, and verifiable.",
)
def export(run: str, output: Path | None, states: bool) -> None:
    """Write all that is known of a finished RUN to one zip: spec, provenance, tables, figures, report.

    The same run gives the same bytes. `arithctl verify` checks such a file anywhere, without the database.
    """
    from arith_shared.ledger import runs
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database, open_store
    from arithctl.exports import write
    from arithctl.output import human_bytes

    settings = load_settings()
    store = open_store(settings)
    with open_database(settings) as database:
        with database.reading() as session:
            run_id = runs.find(session, run).id
        path = output or Path(f"{run_id}.zip")
        missing = write(database, store, run_id, path, states=states)
    for sentence in missing:
        click.echo(sentence, err=True)
    click.echo(path)
    click.echo(f"{human_bytes(path.stat().st_size)}; `arithctl verify {path}` checks it", err=True)
