"""Where a variable becomes decodable: the first position at which the best layer's r reaches a threshold.

The paper reads this off figure 2 by eye; its authors' later work makes it a rule with threshold 0.9. A cell
whose own or an earlier token prints the value does not count: reading a number off its own print shows no
computation. Offsets are counted from the last token of the variable's own equation. A variable that needs
only numbers can emerge at offset 0; one that needs a later equation cannot emerge before that one ends.

The interval is one of positions: from the first at which some cell's upper bound reaches the threshold to the
first at which some cell's lower bound does. It rests on the 95 % interval of each cell by itself, and is not
widened for having looked at many cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf

from arith_shared.analysis.panel import UNTRAINED_SUFFIX, families
from arith_shared.problems import Layout, question_tokens
from arith_shared.work import Row

#: Symbols that end an equation.
_ENDS = (",", ";")


@dataclass(frozen=True, slots=True)
class Onset:
    """A first position and its interval; infinite where the threshold is not reached at any position."""

    position: float
    #: None where the cells have no intervals (probe.resamples = 0).
    low: float | None
    high: float | None


def own_equation_ends(layout: Layout) -> dict[str, int]:
    """Return, by variable, the position of the last token of the equation that defines it."""
    ends: dict[str, int] = {}
    start = 0
    tokens = question_tokens(layout)
    for position, token in enumerate(tokens):
        if token.label in _ENDS:
            ends[tokens[start].label] = position - 1
            start = position + 1
    return ends


def emergence(scores: Sequence[Row], ends: Mapping[str, int], threshold: float) -> list[Row]:
    """Return one row per family and variable; position and what belongs to it are None when r stays below.

    An unknown or infinite bound of the position is None.
    """
    return [
        _row(scores, family, variable, end, threshold)
        for family in families(scores)
        if not family.endswith(UNTRAINED_SUFFIX)
        for variable, end in sorted(ends.items())
    ]


def best_cell(scores: Iterable[Row]) -> Row | None:
    """Return the row with the greatest r among cells that do not print the value; None when there is none.

    Of equal ones the first by position, then by layer.
    """
    found = [row for row in scores if row["value"] is not None and not row["given"]]
    return max(found, key=lambda row: (row["value"], -row["position"], -row["layer"]), default=None)


def onset(scores: Iterable[Row], threshold: float) -> Onset:
    """Return where the rows of one family and variable first reach `threshold`."""
    own = [row for row in scores if not row["given"]]
    position = _first(own, "value", threshold)
    if all(row["ci_low"] is None for row in own):
        return Onset(position, None, None)
    # A percentile interval need not hold its own estimate; the interval of the position does.
    low = min(position, _first(own, "ci_high", threshold))
    high = max(position, _first(own, "ci_low", threshold))
    return Onset(position, low, high)


def _first(scores: Iterable[Row], column: str, threshold: float) -> float:
    passing = (row["position"] for row in scores if row[column] is not None and row[column] >= threshold)
    return min(passing, default=inf)


def _row(scores: Iterable[Row], family: str, variable: str, end: int, threshold: float) -> Row:
    own = [row for row in scores if row["family"] == family and row["variable"] == variable]
    found = onset(own, threshold)
    cell = best_cell(row for row in own if row["position"] == found.position)
    return {
        "variable": variable,
        "family": family,
        "threshold": threshold,
        "position": cell and cell["position"],
        "token": cell and cell["token"],
        "layer": cell and cell["layer"],
        "offset_from_own_equation": cell and cell["position"] - end,
        "ci_low": _known(found.low),
        "ci_high": _known(found.high),
    }


def _known(bound: float | None) -> float | None:
    return None if bound is None or isinf(bound) else float(bound)
