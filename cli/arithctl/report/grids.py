"""Score rows to the columns of a grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arith_shared.analysis.panel import UNTRAINED_SUFFIX
from arithctl.figures.captions import FAMILIES
from arithctl.figures.data import FigureData
from arithctl.report.data import STATUSES, UNIT, Column, Family, Grid

_ABSENT = STATUSES.index("absent")


def grid_of(data: FigureData) -> Grid:
    """All families of the run, those of the untrained LM last. Raises ValueError for two rows of one cell."""
    names = dict.fromkeys(str(row["family"]) for row in data.rows)
    ordered = sorted(names, key=lambda name: name.endswith(UNTRAINED_SUFFIX))
    return Grid(
        layers=list(data.layers),
        tokens=list(data.labels),
        variables=list(data.variables),
        equation_starts=data.equation_starts,
        output_start=data.output_start,
        ceiling=_millionths(data.ceiling.ravel()),
        given=data.given.ravel().tolist(),
        families=[_family(data, name) for name in ordered],
    )


def family_title(name: str) -> str:
    """What a family is, in a few words."""
    base = name.removesuffix(UNTRAINED_SUFFIX)
    title = FAMILIES.get(base, f"{base} probes")
    return f"{title}, on the untrained LM" if name != base else title


def cell_index(data: FigureData, layer: int, position: int, variable: str) -> int:
    """Place of a cell in the columns of its family."""
    at_layer = data.layers.index(layer) * len(data.labels) + position
    return at_layer * len(data.variables) + data.variables.index(variable)


def _family(data: FigureData, name: str) -> Family:
    scores = data.grid(name)
    size = scores.value.size
    status = [_ABSENT] * size
    low, high, control = (np.full(size, np.nan) for _ in range(3))
    n_train, n_eval = [0] * size, [0] * size
    for row in data.family_rows(name):
        cell = cell_index(data, row["layer"], row["position"], row["variable"])
        ok = not scores.failed.ravel()[cell]
        status[cell] = STATUSES.index("ok" if ok else row["status"])
        n_train[cell], n_eval[cell] = row["n_train"], row["n_eval"]
        if ok:
            low[cell], high[cell] = _number(row["ci_low"]), _number(row["ci_high"])
            control[cell] = _number(row["control"])
    return Family(
        name=name,
        title=family_title(name),
        untrained=name.endswith(UNTRAINED_SUFFIX),
        value=_millionths(scores.value.ravel()),
        low=_millionths(low),
        high=_millionths(high),
        control=_millionths(control),
        status=status,
        n_train=_short(n_train, status),
        n_eval=_short(n_eval, status),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _millionths(values: NDArray[np.float64]) -> Column:
    return [None if math.isnan(value) else round(value * UNIT) for value in values.tolist()]


def _short(counts: Sequence[int], status: Iterable[Any]) -> list[int]:
    there = {count for count, code in zip(counts, status, strict=True) if code != _ABSENT}
    return list(there) if len(there) == 1 else list(counts)
