"""Score rows as arrays: what figures, tables and summaries work on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from arith_shared.work import Row

#: Ends the name of a family that was fitted on the LM before training: a control, not a finding.
UNTRAINED_SUFFIX = "@untrained"

Column = Literal["value", "ci_low", "ci_high", "ceiling", "control", "given", "n_train", "n_eval"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One column of the score rows of one family."""

    family: str
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    #: Generic label of each position.
    tokens: tuple[str, ...]
    variables: tuple[str, ...]
    #: float64[layer, position, variable]; NaN where there is no row, or no number (diverged, constant).
    values: NDArray[np.float64]

    def max_over_layers(self) -> NDArray[np.float64]:
        """Return float64[position, variable], NaN where no layer has a number."""
        # fmax prefers a number to NaN, and unlike nanmax does not warn where there is none.
        best: NDArray[np.float64] = np.fmax.reduce(self.values, axis=0)
        return best


def pivot(rows: Iterable[Row], family: str, column: Column = "value") -> Panel:
    """Arrange `column` of the score rows of `family` by layer, position and variable, each in order.

    Raises ValueError when `family` has no rows, or two for one cell (rows of more than one run).
    """
    chosen = [row for row in rows if row["family"] == family]
    if not chosen:
        raise ValueError(f"expected score rows of family {family!r}, found none")
    cells = {(row["layer"], row["position"], row["variable"]): row[column] for row in chosen}
    if len(cells) < len(chosen):
        raise ValueError(
            f"expected one {family} row per cell, found {len(chosen)} for {len(cells)}; give one run's rows"
        )
    tokens = {row["position"]: row["token"] for row in chosen}
    layers, positions, variables = (
        _sorted(row[axis] for row in chosen) for axis in ("layer", "position", "variable")
    )
    values = np.full((len(layers), len(positions), len(variables)), np.nan)
    for (layer, position, variable), value in cells.items():
        if value is not None:
            values[layers.index(layer), positions.index(position), variables.index(variable)] = value
    return Panel(
        family, layers, positions, tuple(tokens[position] for position in positions), variables, values
    )


def max_over_layers(rows: Iterable[Row], family: str) -> dict[str, NDArray[np.float64]]:
    """Return the best r over layers by variable, float64[position] each (the paper's figure 2, top)."""
    panel = pivot(rows, family)
    return dict(zip(panel.variables, panel.max_over_layers().T, strict=True))


def families(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the families that have rows, in alphabetical order."""
    return _sorted(row["family"] for row in rows)


def _sorted(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(set(values)))
