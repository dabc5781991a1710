"""Seconds per amount of each kind of work, fitted to units whose time is known.

The time of a unit is the sum of its amounts, each times a constant that is not negative. An error counts the less the
longer its unit is expected to take, so that all of them together take what they took: of a forecast the sum matters.
Between two widths the seconds per FLOP follow a + b / width: a matrix product costs width^2, what surrounds it costs
width. Beyond the widths that were timed the nearest one holds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from arithctl.forecast.amounts import Amounts

Floats = NDArray[np.float64]
#: Seconds: nothing is expected to take less.
_SHORTEST_S = 1e-3
#: Rounds of fitting, each with the weights of the one before; after a few nothing changes.
_ROUNDS = 5

#: Seconds per amount, by kind of work.
Rates = Mapping[str, float]


def fit(units: Sequence[tuple[Amounts, float]]) -> dict[str, float]:
    """Rates from units and their seconds; a kind of work that only lengthens the error gets zero."""
    kinds = sorted({kind for amounts, _ in units for kind in amounts})
    matrix = np.array([[amounts.get(kind, 0.0) for kind in kinds] for amounts, _ in units])
    seconds = np.array([max(seconds, _SHORTEST_S) for _, seconds in units])
    scale = matrix.max(axis=0, initial=0.0)
    scale[scale == 0] = 1.0
    matrix /= scale
    # Weighted by what is expected, not by what was found: units that happened to be slow would count less.
    expected = seconds
    for _ in range(_ROUNDS):
        values = _not_negative(matrix / np.sqrt(expected)[:, None], seconds / np.sqrt(expected))
        expected = np.maximum(matrix @ values, _SHORTEST_S)
    return {kind: float(value) for kind, value in zip(kinds, values / scale, strict=True)}


def _not_negative(matrix: Floats, target: Floats) -> Floats:
    """Least squares without negative values: what would be most negative is left out, until nothing is."""
    values = np.zeros(matrix.shape[1])
    left = list(range(matrix.shape[1]))
    while left:
        found, *_ = np.linalg.lstsq(matrix[:, left], target, rcond=None)
        if found.min() >= 0:
            values[left] = found
            break
        del left[int(found.argmin())]
    return values


def seconds_of(rates: Rates, amounts: Amounts) -> float:
    """Seconds of one unit."""
    return sum(amount * _rate(rates, kind) for kind, amount in amounts.items())


def makespan(seconds: Sequence[float], workers: int, start_s: float) -> float:
    """Seconds from the first unit's start to the last one's end: each goes to the worker that is free first.

    Every worker that gets a unit spends `start_s` before it.
    """
    free = [start_s] * min(workers, len(seconds))
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free, default=0.0)


def _rate(rates: Rates, kind: str) -> float:
    name, _, width = kind.partition("@")
    if not width:
        return rates.get(kind, 0.0)
    # Zero is what a fit gives where it could not tell a rate from noise: it is no measurement.
    points = sorted((1 / int(at), rate) for at, rate in _widths(rates, name) if rate > 0)
    if not points:
        return 0.0
    return float(np.interp(1 / int(width), [place for place, _ in points], [rate for _, rate in points]))


def _widths(rates: Rates, name: str) -> Iterator[tuple[str, float]]:
    for kind, rate in rates.items():
        own, _, width = kind.partition("@")
        if own == name and width:
            yield width, rate
