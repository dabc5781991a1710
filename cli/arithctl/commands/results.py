"""`arithctl results`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arithctl.options import complete_run

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from arith_shared.ledger.groups import Named
    from arith_shared.ledger.tables import Run

#: Tables that a run's rows fill; claims are judged from the others when they are asked for.
TABLES = ("summary", "scores", "emergence", "claims")
FORMATS = ("table", "json", "csv", "parquet", "markdown", "latex")


@click.command(
    epilog="Example:  arithctl results last --table scores --format csv -o scores.csv\n\n"
    "A group:   arithctl results GROUP --table emergence\n\n"
    "Two runs:  arithctl results GENERAL SPECIALISED --table claims"
)
@click.argument("run", nargs=-1, required=True, shell_complete=complete_run)
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
@click.option("--each", is_flag=True, help="Of a group the rows of each run, not the means over seeds.")
@click.option("--check", is_flag=True, help="With --table claims: exit with 4 if a claim failed.")
def results(
    run: tuple[str, ...],
    table: str,
    format_: str,
    output: Path | None,
    as_json: bool,
    each: bool,
    check: bool,
) -> None:
    """Print or save a result table of each RUN; an unfinished run gives the rows that it has so far.

    The table claims says of every sentence of the paper's results with a number or an order whether the runs bear
    it out: pass, fail, or inconclusive where the intervals do not decide. A claim that compares the general model
    with the specialised one needs a run of each.

    Of a group the means over seeds are printed, with Student's 95 % interval over runs; claims are judged run by run.
    """
    from arith_shared.ledger import groups
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database
    from arithctl.errors import CLAIM_FAILED, Failure
    from arithctl.output import COLUMNS, write_rows

    if check and table != "claims":
        raise click.UsageError("--check judges claims: add --table claims")
    with open_database(load_settings()) as database, database.reading() as session:
        named = list({one.id: one for one in (groups.find(session, text) for text in run)}.values())
        found = list({one.id: one for part in named for one in part.runs}.values())
        means = not each and table != "claims" and any(part.is_group for part in named)
        rows = _means(session, named, table) if means else _rows(session, found, table)
    columns = COLUMNS[f"mean {table}" if means else table]
    write_rows(rows, columns, "json" if as_json else format_, output)  # type: ignore[arg-type]
    if not rows:
        click.echo("; ".join(_nothing(one, table) for one in found), err=True)
    if output is not None:
        click.echo(f"{len(rows)} rows written to {output}", err=True)
    failed = [row["claim"] for row in rows if row.get("verdict") == "fail"]
    if check and failed:
        raise Failure(f"{len(failed)} of {len(rows)} claims failed: {', '.join(failed)}", CLAIM_FAILED)
    if check and not rows:
        raise Failure("there is no claim to check", CLAIM_FAILED)


def _nothing(run: Run, table: str) -> str:
    from arith_shared.analysis.claims.evidence import experiment
    from arith_shared.specs import Spec

    if table == "claims" and experiment(Spec.model_validate(run.spec)) is None:
        return f"{run.id}: the paper claims nothing about its problems, which are not those of equation 1"
    return f"{run.id} is {run.state} and has no {table} rows yet"


def _means(session: Session, named: list[Named], table: str) -> list[dict[str, Any]]:
    from arith_shared.errors import UserError
    from arithctl.means import mean_rows

    alone = [part.id for part in named if not part.is_group]
    if alone:
        raise UserError(
            f"a group's rows are means, those of {', '.join(alone)} are not: add --each, or ask apart"
        )
    return [row for part in named for row in mean_rows(session, part, table)]


def _rows(session: Session, found: list[Run], table: str) -> list[dict[str, Any]]:
    from arith_shared.ledger import views
    from arithctl.verdicts import claim_rows

    if table == "claims":
        return claim_rows(session, found)
    return [row for run in found for row in views.table(session, run.id, table)]
