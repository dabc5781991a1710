"""`arithctl report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arithctl.options import complete_run

if TYPE_CHECKING:
    from arith_shared.settings import Settings
    from arith_shared.store.artifacts import ArtifactStore


@click.command(epilog="Example:  arithctl report last -o report.html")
@click.argument("run", nargs=-1, required=True, shell_complete=complete_run)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The file.",
)
@click.option(
    "--points",
    type=click.IntRange(0, 2_000),
    default=200,
    show_default=True,
    help="Problems shown behind each cell, predicted against true; 0 leaves them out.",
)
def report(run: tuple[str, ...], output: Path, points: int) -> None:
    """Write one page about each RUN that opens in any browser, from disk, without a network.

    It has the question, accuracy, interactive heatmaps with the points behind each cell, claims with verdicts, where
    values emerge, the training curve, and all that is needed to repeat the run. Several runs are also shown side by
    side. A run that is not over gives what it has so far.
    """
    from arith_shared.settings import load_settings
    from arithctl import report as library
    from arithctl.connection import open_database
    from arithctl.output import human_bytes, replacing

    settings = load_settings()
    store, unreadable = _store(settings, run)
    with open_database(settings) as database:
        data = library.collect(database, run, store, unreadable=unreadable, points=points)
    text = library.page(data)
    with replacing(output) as path:
        path.write_text(text, encoding="utf-8", newline="")
    click.echo(output)
    shown = ", ".join(one.id for one in data.runs)
    click.echo(f"{human_bytes(len(text.encode()))}: {shown}; open it in a browser", err=True)


def _store(settings: Settings, names: tuple[str, ...]) -> tuple[ArtifactStore | None, str]:
    """Where the files are, or a sentence that says why they cannot be read from here."""
    from arith_shared.store.artifacts import ArtifactStore

    if settings.sees_artifacts:
        return ArtifactStore(settings.artifact_root, cache=settings.home / "cache"), ""
    command = f"docker compose run --rm cli arithctl report {' '.join(names)}"
    return None, (
        "The stack keeps this run's files in a Docker volume, which the machine of this report could not read. "
        f"With them: {command}"
    )
