"""The tables behind the charts: the same numbers for readers without a pointer, a screen or a script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from arithctl.figures.captions import correlation
from arithctl.report.data import STATUSES, UNIT, Family, Grid

_MISSING = "\N{EN DASH}"


class Entry(NamedTuple):
    """A cell of a matrix: its text, and whether the value was printed there (`given`)."""

    text: str
    given: bool


class Best(NamedTuple):
    """The best layer at one token, for one variable."""

    position: int
    token: str
    layer: str
    r: str
    interval: str
    ceiling: str
    control: str
    n: str
    given: bool


def matrix(grid: Grid, family: Family, variable: int) -> Iterator[tuple[int, list[Entry]]]:
    """The rows of one heatmap, last layer first, as it is drawn."""
    for row in reversed(range(len(grid.layers))):
        cells = (_cell(grid, row, position, variable) for position in range(len(grid.tokens)))
        yield (
            grid.layers[row],
            [
                Entry(_text(family, cell), grid.given[position * len(grid.variables) + variable])
                for position, cell in enumerate(cells)
            ],
        )


def best(grid: Grid, family: Family, variable: int) -> Iterator[Best]:
    """For each token the layer with the largest r, and all that is known of that cell."""
    for position, token in enumerate(grid.tokens):
        cells = [_cell(grid, row, position, variable) for row in range(len(grid.layers))]
        own = position * len(grid.variables) + variable
        ceiling, given = _number(grid.ceiling[own]), grid.given[own]
        found = [(value, row) for row, cell in enumerate(cells) if (value := family.value[cell]) is not None]
        if not found:
            status = _text(family, cells[0]) if cells else _MISSING
            yield Best(position, token, _MISSING, status, _MISSING, ceiling, _MISSING, _MISSING, given)
            continue
        # Of equal ones the first, as everywhere.
        _, row = max(found, key=lambda pair: (pair[0], -pair[1]))
        cell = cells[row]
        low, high = family.low[cell], family.high[cell]
        interval = f"{_number(low)} to {_number(high)}" if low is not None and high is not None else _MISSING
        n = family.n_eval[cell] if len(family.n_eval) > 1 else family.n_eval[0]
        yield Best(
            position, token, str(grid.layers[row]), _text(family, cell), interval, ceiling,
            _number(family.control[cell]), f"{n:,}", given,
        )  # fmt: skip


def _cell(grid: Grid, row: int, position: int, variable: int) -> int:
    return (row * len(grid.tokens) + position) * len(grid.variables) + variable


def _text(family: Family, cell: int) -> str:
    """A correlation, or the word for why there is none."""
    status = STATUSES[family.status[cell]]
    if status == "absent":
        return _MISSING
    return _number(family.value[cell]) if status == "ok" else status


def _number(value: int | None) -> str:
    return _MISSING if value is None else correlation(value / UNIT)
