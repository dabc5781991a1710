"""`arithctl compare`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from arithctl.commands.results import FORMATS
from arithctl.options import complete_run

#: What the screen shows of a difference; files have every column.
_SHOWN = (
    "run", "metric", "variable", "family", "position", "token", "layer", "baseline_layer", "value",
    "baseline_value", "difference", "ci_low", "ci_high", "n",
)  # fmt: skip


@click.command(
    epilog="Example:  arithctl compare GENERAL SPECIALISED --figure differences.png\n\n"
    "Seeds:    arithctl compare GROUP GROUP --format csv -o differences.csv"
)
@click.argument("run", nargs=-1, required=True, shell_complete=complete_run)
@click.option("--layers", is_flag=True, help="Compare layer by layer, instead of each run's best layer.")
@click.option("--family", "families", multiple=True, help="Probe family, e.g. ridge; repeatable.")
@click.option("--variable", "variables", multiple=True, help="Variable, e.g. B; repeatable.")
@click.option(
    "--resamples",
    type=click.IntRange(100, 100_000),
    default=1_000,
    show_default=True,
    help="Bootstrap resamples behind each paired interval.",
)
@click.option("--unpaired", is_flag=True, help="Do not pair problems; needs no predictions.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="Parquet needs -o.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option(
    "--figure",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the differences too; the name ends in .png, .pdf or .svg.",
)
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
def compare(
    run: tuple[str, ...],
    layers: bool,
    families: tuple[str, ...],
    variables: tuple[str, ...],
    resamples: int,
    unpaired: bool,
    format_: str,
    output: Path | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Differences of Pearson's r between each RUN and the first one, the baseline, with 95 % intervals.

    Runs that were evaluated on the same problems are compared problem by problem (paired bootstrap); others as
    independent estimates. Of groups the means over seeds are compared. What was done is said below the table.
    """
    from arith_shared.settings import load_settings
    from arithctl.comparison import arms, compared, remarks
    from arithctl.connection import open_database
    from arithctl.output import COLUMNS, write_rows

    if layers and figure is not None:
        raise click.UsageError("the figure shows the best layers: leave --layers out, or --figure")
    settings = load_settings()
    with open_database(settings) as database:
        with database.reading() as session:
            sides = arms(session, run)
        rows = compared(
            database,
            settings,
            sides,
            families=families,
            layers=layers,
            resamples=resamples,
            paired=not unpaired,
        )
    rows = [row for row in rows if not variables or row["variable"] in (*variables, None)]
    format_ = "json" if as_json else format_
    shown = _SHOWN if format_ == "table" and output is None else COLUMNS["differences"]
    write_rows(rows, shown, format_, output)  # type: ignore[arg-type]
    about = partial(remarks, seeds=len(sides[0].runs) > 1)
    said = [f"Baseline: {sides[0].label}.", *about(rows)]
    if output is not None:
        said.append(f"{len(rows)} rows written to {output}")
    if figure is not None:
        from arithctl.figures.draw import draw_differences

        said += [f"figure  {path}" for path in draw_differences(rows, figure, about)]
    for line in said:
        click.echo(line, err=True)
