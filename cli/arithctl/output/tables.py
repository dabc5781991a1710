"""Rows to a terminal, a pipe or a file, in the format that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from arith_shared.errors import UserError
from arithctl.output.columns import TYPES
from arithctl.output.files import replacing
from arithctl.output.text import RENDERERS, Rows, plain_text
from arithctl.output.values import cells, numeric, readable

Format = Literal["table", "json", "csv", "parquet", "markdown", "latex"]

#: Every format of `write_rows`, for the help of an option.
FORMATS: tuple[Format, ...] = get_args(Format)


def print_table(
    rows: Rows, columns: Sequence[str], *, title: str | None = None, console: Console | None = None
) -> None:
    """Print `rows` for a reader: ruled on a terminal; plain aligned columns, never cut, anywhere else."""
    console = console or Console()
    if not console.is_terminal:
        text = plain_text(rows, columns)
        _emit(f"{title}\n{text}" if title else text, console)
        return
    values = cells(rows, columns)
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        right = numeric([line[index] for line in values])
        # Folding keeps every letter on a narrow terminal; an ellipsis would drop some.
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for line in values:
        # Text, not str: a token such as "[b]" is no markup.
        table.add_row(*(Text(readable(value, missing="\N{EN DASH}")) for value in line))
    console.print(table)


def write_rows(rows: Rows, columns: Sequence[str], format_: Format, destination: Path | None = None) -> None:
    """Write `rows` to the file `destination` (whole or not at all), or to standard output when it is None.

    Raises UserError for an unknown format, and for Parquet without a destination.
    """
    if format_ not in FORMATS:
        raise UserError(f"format {format_!r} is unknown; choose one of {', '.join(FORMATS)}")
    if format_ == "parquet":
        _write_parquet(rows, columns, destination)
    elif destination is not None:
        with replacing(destination) as path:
            path.write_text(RENDERERS[format_](rows, columns), encoding="utf-8", newline="")
    elif format_ == "table":
        print_table(rows, columns)
    else:
        _emit(RENDERERS[format_](rows, columns), Console())


def _emit(text: str, console: Console) -> None:
    """Write `text` as it is, with signs that the stream's encoding lacks replaced instead of refused."""
    encoding = console.encoding or "utf-8"
    console.file.write(text.encode(encoding, "replace").decode(encoding))


def _write_parquet(rows: Rows, columns: Sequence[str], destination: Path | None) -> None:
    if destination is None:
        raise UserError(
            "Parquet is a binary format and was not sent to standard output; name a file with -o FILE"
        )
    # Loading Arrow takes longer than most commands, so only this format pays for it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "integer": pa.int64(), "real": pa.float64(), "flag": pa.bool_()}
    values = cells(rows, columns)
    arrays = {
        column: pa.array([line[index] for line in values], types.get(TYPES.get(column, "")))
        for index, column in enumerate(columns)
    }
    with replacing(destination) as path:
        pq.write_table(pa.table(arrays), path)
