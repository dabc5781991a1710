"""Rows as text: plain columns, JSON, CSV, GitHub Markdown, LaTeX. Pure functions, rows in and a string out.

JSON and CSV are for programs and keep every digit; the others are for people and keep three decimals.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from arithctl.output.values import cells, numeric, readable

Rows = Sequence[Mapping[str, Any]]

_EN_DASH = "\N{EN DASH}"

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}
_MARKDOWN = {sign: f"\\{sign}" for sign in "\\|`*<"}


def plain_text(rows: Rows, columns: Sequence[str]) -> str:
    """Aligned columns without rules or colours, never truncated; our own signs are ASCII."""
    table, right = _readable(rows, columns, missing="-")
    lines = [list(columns), *table]
    widths = [max(cell_len(line[index]) for line in lines) for index in range(len(columns))]
    return "".join(f"{_aligned(line, widths, right)}\n" for line in lines)


def json_text(rows: Rows, columns: Sequence[str]) -> str:
    """A JSON array, one row a line; NaN and the infinities, for which JSON has no word, become null."""
    objects = [
        json.dumps(
            dict(zip(columns, map(_finite, line), strict=True)),
            ensure_ascii=False,
            default=str,
            allow_nan=False,
        )
        for line in cells(rows, columns)
    ]
    return "[\n" + ",\n".join(f"  {text}" for text in objects) + "\n]\n" if objects else "[]\n"


def csv_text(rows: Rows, columns: Sequence[str]) -> str:
    """CSV with a header; None is an empty field, flags are `true` and `false`."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for line in cells(rows, columns):
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in line])
    return buffer.getvalue()


def markdown_text(rows: Rows, columns: Sequence[str]) -> str:
    """A GitHub table, aligned in the source too."""
    table, right = _readable(rows, columns, missing=_EN_DASH, escape=_MARKDOWN)
    header = [_escaped(column, _MARKDOWN) for column in columns]
    lines = [header, *table]
    widths = [max(3, *(cell_len(line[index]) for line in lines)) for index in range(len(columns))]
    rule = ["-" * (width - 1) + (":" if flag else "-") for width, flag in zip(widths, right, strict=True)]
    padded = (
        [_padded(*cell) for cell in zip(line, widths, right, strict=True)] for line in [header, rule, *table]
    )
    return "".join(f"| {' | '.join(line)} |\n" for line in padded)


def latex_text(rows: Rows, columns: Sequence[str]) -> str:
    """A `tabular` with the rules of booktabs; a negative number is set in mathematics for its minus sign."""
    table, right = _readable(rows, columns, missing="--", escape=_LATEX)
    body = [
        [_minus(cell) if flag else cell for cell, flag in zip(line, right, strict=True)] for line in table
    ]
    header = [_escaped(column, _LATEX) for column in columns]
    layout = "".join("r" if flag else "l" for flag in right)
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            f"\\begin{{tabular}}{{{layout}}}",
            "\\toprule",
            f"{' & '.join(header)} \\\\",
            "\\midrule",
            *(f"{' & '.join(line)} \\\\" for line in body),
            "\\bottomrule",
            "\\end{tabular}\n",
        ]
    )


#: How each text format is made.
RENDERERS: dict[str, Callable[[Rows, Sequence[str]], str]] = {
    "table": plain_text,
    "json": json_text,
    "csv": csv_text,
    "markdown": markdown_text,
    "latex": latex_text,
}


def _readable(
    rows: Rows, columns: Sequence[str], *, missing: str, escape: Mapping[str, str] | None = None
) -> tuple[list[list[str]], list[bool]]:
    """The rows as strings, and for each column whether it is aligned to the right."""
    values = cells(rows, columns)
    table = [
        [missing if value is None else _escaped(readable(value, missing), escape or {}) for value in line]
        for line in values
    ]
    return table, [numeric([line[index] for line in values]) for index in range(len(columns))]


def _escaped(text: str, signs: Mapping[str, str]) -> str:
    return "".join(signs.get(sign, sign) for sign in text)


def _minus(cell: str) -> str:
    return f"$-${cell[1:]}" if cell.startswith("-") and cell != "--" else cell


def _aligned(line: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    return "  ".join(_padded(*cell) for cell in zip(line, widths, right, strict=True)).rstrip()


def _padded(cell: str, width: int, right: bool) -> str:
    # Not str.ljust: a sign of an East Asian name takes two columns.
    space = " " * (width - cell_len(cell))
    return space + cell if right else cell + space


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isinf(value) else value
