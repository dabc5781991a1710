"""95 % intervals: of a proportion, of a mean over runs, and of differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import atan, cos, pi, sin, sqrt
from statistics import fmean, variance

#: The 97.5 % quantile of the normal distribution: 95 % intervals throughout.
Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, the bounds of its 95 % interval, and how many problems it rests on."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int) -> Estimate:
    """Return the proportion `successes` / `n` with Wilson's score interval (1927).

    Unlike the textbook interval it stays within 0 and 1 and keeps a width at 0 and at n successes, where
    accuracies often are. Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"expected 0 <= successes <= n and n > 0, found {successes} of {n}")
    share, squared = successes / n, Z * Z
    centre = share + squared / (2 * n)
    margin = Z * sqrt(share * (1 - share) / n + squared / (4 * n * n))
    scale = 1 + squared / n
    return Estimate(share, max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale), n)


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean with Student's interval; of a single value the bounds are infinite.

    It takes the values (runs with different seeds) for a sample of a normal distribution. Raises ValueError for none.
    """
    if not values:
        raise ValueError("expected at least one value, found none")
    n, centre = len(values), fmean(values)
    if n == 1:
        return Estimate(centre, -float("inf"), float("inf"), 1)
    margin = t_quantile(n - 1) * sqrt(variance(values) / n)
    return Estimate(centre, centre - margin, centre + margin, n)


def welch(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Return mean(values) - mean(baseline) of independent samples with Welch's interval (1947).

    Degrees of freedom are rounded down, so that the interval is never too narrow. With fewer than two values on
    either side the bounds are infinite.
    """
    difference, n = fmean(values) - fmean(baseline), len(values)
    if min(n, len(baseline)) < 2:
        return Estimate(difference, -float("inf"), float("inf"), n)
    mine, theirs = (variance(sample) / len(sample) for sample in (values, baseline))
    if not mine + theirs:
        return Estimate(difference, difference, difference, n)
    freedom = (mine + theirs) ** 2 / (mine**2 / (n - 1) + theirs**2 / (len(baseline) - 1))
    margin = t_quantile(max(1, int(freedom))) * sqrt(mine + theirs)
    return Estimate(difference, difference - margin, difference + margin, n)


def independent_difference(mine: Estimate, baseline: Estimate) -> Estimate:
    """Return the difference of two independent estimates, its interval recovered from theirs (Zou 2007).

    For proportions with Wilson's intervals this is Newcombe's (1998). It keeps the skewness that correlations near 1
    have, which the square root of summed variances would not.
    """
    difference = mine.value - baseline.value
    low = difference - sqrt((mine.value - mine.low) ** 2 + (baseline.high - baseline.value) ** 2)
    high = difference + sqrt((mine.high - mine.value) ** 2 + (baseline.value - baseline.low) ** 2)
    return Estimate(difference, low, high, mine.n)


@lru_cache
def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t, by bisection of its distribution function."""
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_central(middle, freedom) < 0.95 else (low, middle)
    return high


def _t_central(t: float, freedom: int) -> float:
    """Return P(|T| < t) by the finite series of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    angle = atan(t / sqrt(freedom))
    total = term = cos(angle) if freedom % 2 else 1.0
    for k in range(3 if freedom % 2 else 2, freedom - 1, 2):
        term *= (k - 1) / k * cos(angle) ** 2
        total += term
    if freedom % 2:
        return 2 / pi * (angle + (sin(angle) * total if freedom > 1 else 0.0))
    return sin(angle) * total
