"""Two runs cell by cell: differences of Pearson's r with 95 % intervals.

Where both runs were evaluated on the same problems (same task and seed), the same problems are drawn for both in each
bootstrap resample: what makes a problem hard for both then cancels, and the interval is the one of the difference
itself. Problems that only one of the runs solved are left out. Otherwise the two intervals are combined as those of
independent estimates.

"Best layer" cells compare each run's best layer by its own scores. That choice is not repeated in the resamples, as
it is not for the intervals of the table `summary`: repeating it would count the luck of the best layer twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from arith_shared.analysis.intervals import Estimate, independent_difference
from arith_shared.analysis.panel import UNTRAINED_SUFFIX
from arith_shared.work import Row

#: Tails of a 95 % interval.
_QUANTILES = (0.025, 0.975)
#: Digits after the point that predictions in float32 can bear out.
_DECIMALS = 9
#: Fewest shared problems from which an interval is made.
_MIN_PROBLEMS = 10

#: Layer (None: each run's best), position, token, variable, family.
Place = tuple[int | None, int, str, str, str]


class Predicted(Protocol):
    """The predictions of one cell, and what its problems were drawn from; arrays are [problem]."""

    @property
    def predicted(self) -> NDArray[np.float32]: ...
    @property
    def truth(self) -> NDArray[np.float32]: ...
    @property
    def index(self) -> NDArray[np.int64]: ...
    @property
    def source(self) -> Mapping[str, Any]: ...


#: Predictions of both runs and the truth, float[problem], on the problems that both were evaluated on.
Shared = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]

#: Predictions by layer, position, variable and family; None where a cell has none.
Reader = Callable[[int, int, str, str], Predicted | None]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs: its rows of the tables `scores` and `summary`, and its predictions where they are kept."""

    run: str
    scores: Sequence[Row]
    summary: Sequence[Row] = ()
    read: Reader | None = None


def compare(
    side: Side, baseline: Side, *, families: Sequence[str] = (), layers: bool = False, resamples: int = 1_000
) -> list[Row]:
    """Return one row per cell that both runs have, after one for the accuracy: `side` minus `baseline`.

    A cell is a variable at a position, read by one of `families` (none named: all but the untrained LM's), at each
    run's best layer or, with `layers`, at each layer. A cell without a correlation in one of the runs has no
    difference, but the `status` that says why. Positions are the same where number and token are.
    """
    mine, theirs = (_cells(one.scores, families, layers) for one in (side, baseline))
    rows = [
        _row(place, mine[place], theirs[place], side, baseline, resamples)
        for place in sorted(mine.keys() & theirs.keys(), key=_order)
    ]
    return [*_accuracy(side, baseline), *rows]


def paired_difference(
    predicted: NDArray[Any], baseline: NDArray[Any], truth: NDArray[Any], resamples: int
) -> Estimate:
    """Return r(predicted, truth) - r(baseline, truth) with its paired percentile-bootstrap interval.

    All are float[problem]. The bounds are infinite where no resample has both correlations.
    """
    p, q, t = (_standardise(values) for values in (predicted, baseline, truth))
    moments = np.stack([p, q, t, p * p, q * q, t * t, p * t, q * t], axis=1)
    drawn = _counts(len(t), resamples) @ moments / len(t)
    differences = _correlations(drawn, 0) - _correlations(drawn, 1)
    usable = differences[np.isfinite(differences)]
    low, high = np.quantile(usable, _QUANTILES).tolist() if len(usable) else (-np.inf, np.inf)
    return Estimate(float((p * t).mean() - (q * t).mean()), low, high, len(t))


def best_by_place(scores: Iterable[Row], families: Sequence[str] = ()) -> dict[Place, Row]:
    """Return the row of the best layer at each (position, token, variable, family); one without r if none has any."""
    return _cells(scores, families, layers=False)


def _cells(scores: Iterable[Row], families: Sequence[str], layers: bool) -> dict[Place, Row]:
    found: dict[Place, Row] = {}
    for row in scores:
        family = row["family"]
        if family not in families if families else family.endswith(UNTRAINED_SUFFIX):
            continue
        layer = row["layer"] if layers else None
        place = (layer, row["position"], row["token"], row["variable"], family)
        if place not in found or _height(row) > _height(found[place]):
            found[place] = row
    return found


def _height(row: Row) -> float:
    return -np.inf if row["value"] is None else float(row["value"])


def _order(place: Place) -> tuple[Any, ...]:
    layer, position, _, variable, family = place
    return family, variable, position, -1 if layer is None else layer


def _row(place: Place, mine: Row, theirs: Row, side: Side, baseline: Side, resamples: int) -> Row:
    _, position, token, variable, family = place
    row = {
        "run": side.run,
        "baseline": baseline.run,
        "metric": mine["metric"],
        "variable": variable,
        "family": family,
        "position": position,
        "token": token,
        "layer": mine["layer"],
        "baseline_layer": theirs["layer"],
        "value": mine["value"],
        "baseline_value": theirs["value"],
        "given": mine["given"] or theirs["given"],
        "status": mine["status"] if mine["status"] != "ok" else theirs["status"],
    }
    if mine["value"] is None or theirs["value"] is None:
        return row | _numbers(None, mine["n_eval"], theirs["n_eval"], paired=False)
    shared = _shared(mine, theirs, side, baseline)
    if shared is None:
        estimates = [_estimate(one, one["n_eval"]) for one in (mine, theirs)]
        return row | _numbers(
            independent_difference(*estimates), mine["n_eval"], theirs["n_eval"], paired=False
        )
    values = {"value": _r(shared[0], shared[2]), "baseline_value": _r(shared[1], shared[2])}
    n = len(shared[2])
    return row | values | _numbers(paired_difference(*shared, resamples), n, n, paired=True)


def _numbers(found: Estimate | None, n: int, baseline_n: int, *, paired: bool) -> Row:
    """The columns of a difference; a bound that is not known is None."""
    numbers = (None,) * 3 if found is None else (found.value, found.low, found.high)
    # Adding 0 turns a rounded -0.0 into 0.0.
    known = [
        None if number is None or not np.isfinite(number) else round(number, _DECIMALS) + 0.0
        for number in numbers
    ]
    names = ("difference", "ci_low", "ci_high")
    return {**dict(zip(names, known, strict=True)), "n": n, "baseline_n": baseline_n, "paired": paired}


def _shared(mine: Row, theirs: Row, side: Side, baseline: Side) -> Shared | None:
    """What can be paired: None without predictions of the same problems, or where one of them never varies."""
    found = [_predicted(row, one) for row, one in ((mine, side), (theirs, baseline))]
    first, second = found
    if first is None or second is None or first.source != second.source:
        return None
    _, here, there = np.intersect1d(first.index, second.index, assume_unique=True, return_indices=True)
    truth = first.truth[here]
    if len(here) < _MIN_PROBLEMS or (truth != second.truth[there]).any():
        return None
    shared = (first.predicted[here], second.predicted[there], truth)
    return None if any(np.ptp(values) == 0 for values in shared) else shared


def _predicted(row: Row, side: Side) -> Predicted | None:
    return side.read and side.read(row["layer"], row["position"], row["variable"], row["family"])


def _estimate(row: Row, n: int) -> Estimate:
    low, high = row["ci_low"], row["ci_high"]
    return Estimate(row["value"], -np.inf if low is None else low, np.inf if high is None else high, n)


def _accuracy(side: Side, baseline: Side) -> Iterator[Row]:
    """The accuracies as those of independent samples: which problems were solved is not kept, only how many."""
    mine, theirs = (
        next((row for row in one.summary if row["name"] == "accuracy"), None) for one in (side, baseline)
    )
    if mine is None or theirs is None or mine["value"] is None or theirs["value"] is None:
        return
    difference = independent_difference(_estimate(mine, mine["n"]), _estimate(theirs, theirs["n"]))
    yield {
        "run": side.run,
        "baseline": baseline.run,
        "metric": "accuracy",
        **dict.fromkeys(
            ("variable", "family", "position", "token", "layer", "baseline_layer", "given", "status")
        ),
        "value": mine["value"],
        "baseline_value": theirs["value"],
        **_numbers(difference, mine["n"], theirs["n"], paired=False),
    }


@lru_cache(maxsize=2)
def _counts(n: int, resamples: int) -> NDArray[np.float64]:
    """Return float64[resample, problem], how often each problem is drawn; the same for every cell of `n` problems."""
    drawn = np.random.default_rng([n, resamples]).multinomial(n, np.full(n, 1 / n), size=resamples)
    counts: NDArray[np.float64] = drawn.astype(np.float64)
    return counts


def _correlations(means: NDArray[np.float64], column: int) -> NDArray[np.float64]:
    """Return r in each resample from the mean moments float64[resample, moment]; NaN where nothing varies."""
    p, t = means[:, column], means[:, 2]
    spread = np.sqrt(np.maximum((means[:, 3 + column] - p**2) * (means[:, 5] - t**2), 0))
    covariance = means[:, 6 + column] - p * t
    return np.divide(covariance, spread, out=np.full_like(spread, np.nan), where=spread > 0)


def _standardise(values: NDArray[Any]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = values.astype(np.float64) - values.mean(dtype=np.float64)
    centred /= centred.std()
    return centred


def _r(predicted: NDArray[Any], truth: NDArray[Any]) -> float:
    return float((_standardise(predicted) * _standardise(truth)).mean())
