"""`arithctl figures`."""

from __future__ import annotations

from pathlib import Path

import click

from arithctl.options import complete_run


@click.command(epilog="Example:  arithctl figures last -o figures --format pdf")
@click.argument("run", nargs=-1, required=True, shell_complete=complete_run)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("figures"),
    show_default=True,
    help="Folder for the files.",
)
@click.option(
    "--format", "formats", default="png,pdf", show_default=True, help="Comma-separated: png, pdf, svg."
)
@click.option(
    "--width",
    type=click.Choice(["double", "single"]),
    default="double",
    show_default=True,
    help="6.9 or 3.3 inches.",
)
def figures(run: tuple[str, ...], output: Path, formats: str, width: str) -> None:
    """Draw the paper's figure and heatmaps of each RUN and probe family, with the numbers behind them as CSV.

    Two or more runs are also drawn together in the paper's layout, as its figure 2 shows two models. Of a group the
    mean over seeds is drawn, for each combination of the other swept values.
    """
    from arith_shared.ledger import groups
    from arith_shared.settings import load_settings
    from arithctl.conclude import figure_data
    from arithctl.connection import open_database
    from arithctl.figures import draw, draw_together
    from arithctl.means import mean_figures

    with open_database(load_settings()) as database:
        with database.reading() as session:
            found = {one.id: one for one in (groups.find(session, text) for text in run)}
        drawn = []
        for name, one in found.items():
            drawn += mean_figures(database, one) if one.is_group else [figure_data(database, name)]
    chosen = formats.split(",")
    for data in drawn:
        for path in draw(data, output, chosen, width):  # type: ignore[arg-type]
            click.echo(path)
    if len(drawn) > 1:
        for path in draw_together(drawn, output, chosen, width):  # type: ignore[arg-type]
            click.echo(path)
