"""One cell of a table: what a value becomes for a reader, and what it becomes for a program."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Decimals that a reader sees; programs get every digit.
DECIMALS = 3


def plain(value: Any) -> Any:
    """`value` as a Python scalar; NaN becomes None, since both say that there is no number."""
    if hasattr(value, "item"):  # numpy's scalars, without importing numpy
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def cells(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[list[Any]]:
    """The values of `rows` in the order of `columns`; a column that a row lacks is None there."""
    return [[plain(row.get(column)) for column in columns] for row in rows]


def readable(value: Any, missing: str) -> str:
    """A cell for people: three decimals, `yes` and `no`, one line; `missing` for None."""
    if value is None:
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{DECIMALS}f}"
    return " ".join(str(value).split("\n"))


def numeric(column: Sequence[Any]) -> bool:
    """Whether the column holds numbers only (at least one), and so is aligned to the right."""
    found = [value for value in column if value is not None]
    return bool(found) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in found
    )
