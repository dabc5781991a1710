"""Pearson's r with a percentile-bootstrap interval over evaluation problems, for many cells at once.

A bootstrap resample is a vector of counts, one per problem. The same counts serve every cell of a run, so
that intervals of different cells are comparable, and r in all resamples is a few matrix products: weighted
means of p, t, p^2, t^2 and p t. Percentile intervals are the plainest choice, and enough: on Gaussian data
with r = 0.99 they cover the true value in 95 % of cases with 200 problems as with 2,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arith_prober.seeds import generator

Floats = NDArray[np.float64]

#: Tails of a 95 % interval.
QUANTILES = (0.025, 0.975)

#: A spread below this fraction of the largest magnitude is the rounding of float32, not variation.
ROUNDING = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class Correlation:
    """A Pearson r and its interval: None unless `status` is "ok", the interval also without resamples."""

    status: Literal["ok", "diverged", "constant"]
    value: float | None = None
    low: float | None = None
    high: float | None = None


def pearson(predictions: Floats, truth: Floats, resamples: int = 0, seed: int = 0) -> list[Correlation]:
    """Correlate the columns of two float64[problem, cell]; NaN predictions stand for a diverged fit."""
    statuses = [_status(*columns) for columns in zip(predictions.T, truth.T, strict=True)]
    ok = np.array([status == "ok" for status in statuses], dtype=bool)
    p, t = _standardise(predictions[:, ok]), _standardise(truth[:, ok])
    values = np.clip((p * t).mean(0), -1, 1)
    intervals = (
        _intervals(p, t, bootstrap_counts(len(t), resamples, seed))
        if resamples
        else [(None, None)] * len(values)
    )
    found = iter(zip(values.tolist(), intervals, strict=True))
    return [_correlation(*next(found)) if status == "ok" else Correlation(status) for status in statuses]


@lru_cache(maxsize=2)
def bootstrap_counts(n: int, resamples: int, seed: int) -> Floats:
    """Return float64[resample, problem], how often each problem is drawn: 16 MB for 1,000 of 2,000."""
    counts = generator(seed, "bootstrap", n, resamples).multinomial(n, np.full(n, 1 / n), size=resamples)
    weights = counts.astype(np.float64)
    weights.flags.writeable = False
    return weights


def _status(prediction: Floats, truth: Floats) -> Literal["ok", "diverged", "constant"]:
    if not np.isfinite(prediction).all():
        return "diverged"
    return "ok" if _varies(prediction) and _varies(truth) else "constant"


def _varies(values: Floats) -> bool:
    return bool(np.ptp(values) > ROUNDING * np.abs(values).max())


def _standardise(values: Floats) -> Floats:
    centred: Floats = values - values.mean(0)
    centred /= centred.std(0)
    return centred


def _correlation(value: float, interval: tuple[float | None, float | None]) -> Correlation:
    return Correlation("ok", value, *interval)


def _intervals(p: Floats, t: Floats, counts: Floats) -> list[tuple[float | None, float | None]]:
    """Return the interval of each column of standardised `p` and `t`, whose variances lose no digits."""
    mean_p, mean_t, mean_pp, mean_tt, mean_pt = (
        counts @ moment / len(p) for moment in (p, t, p * p, t * t, p * t)
    )
    spread = np.sqrt(np.maximum((mean_pp - mean_p**2) * (mean_tt - mean_t**2), 0))
    # In a resample of few distinct problems nothing may vary; it then has no r and is left out.
    defined = spread > ROUNDING
    values = np.divide(mean_pt - mean_p * mean_t, spread, out=np.full_like(spread, np.nan), where=defined)
    return [_percentiles(column[usable]) for column, usable in zip(values.T, defined.T, strict=True)]


def _percentiles(values: Floats) -> tuple[float | None, float | None]:
    if not len(values):
        return None, None
    low, high = np.clip(np.quantile(values, QUANTILES), -1, 1).tolist()
    return low, high
