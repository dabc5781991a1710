"""Where a variable becomes decodable: the first position at which the best layer's r reaches a threshold.

The paper reads this off figure 2 by eye; its authors' later work makes it a rule with threshold 0.9. A cell
whose own or an earlier token prints the value does not count: reading a number off its own print shows no
computation. Offsets are counted from the last token of the variable's own equation. A variable that needs
only numbers can emerge at offset 0; one that needs a later equation cannot emerge before that one ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from arith_shared.analysis.panel import UNTRAINED_SUFFIX, families
from arith_shared.problems import Layout, question_tokens
from arith_shared.work import Row

#: Symbols that end an equation.
_ENDS = (",", ";")


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
    """Return one row per family and variable; position and what belongs to it are None when r stays below."""
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


def _row(scores: Iterable[Row], family: str, variable: str, end: int, threshold: float) -> Row:
    own = [row for row in scores if row["family"] == family and row["variable"] == variable]
    passing = [row["position"] for row in own if not row["given"] and (row["value"] or 0) >= threshold]
    cell = best_cell(row for row in own if row["position"] == min(passing)) if passing else None
    found = {name: cell and cell[name] for name in ("position", "token", "layer", "ci_low", "ci_high")}
    offset = cell and cell["position"] - end
    return {
        "variable": variable,
        "family": family,
        "threshold": threshold,
        "offset_from_own_equation": offset,
    } | found
