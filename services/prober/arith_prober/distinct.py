"""Equal hidden states, fitted once: distinct rows, each with the number of problems that it stands for.

A causal LM knows nothing at a position but the tokens up to there, so problems that begin alike have equal states at
early positions; at layer 0 a state depends on its own token and place alone. Squared error needs each distinct state
once, with the mean of its targets and its number of problems as weight:

    sum_i (f(x_i) - y_i)^2 = sum_u n_u (f(x_u) - mean_u)^2 + what does not depend on f

so gradients and minima are the same, whatever f, and predictions need each distinct state once as well.

Rows count as equal only where every bit is. Nothing relies on it: where an LM's last bits depend on the batch that a
problem was in, and storage in half precision does not hide it, there are more distinct rows and the same scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Distinct rows, as a share of all, above which all are fitted as they are.
WORTH = 0.5
#: Features that are looked at first: rows that differ there differ.
_HEAD = 8


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows to compute with, and how those of problems come back from them."""

    #: float32[row, width]
    X: NDArray[np.float32]
    #: int64[problem]: the row of each problem; None where problems are rows.
    place: NDArray[np.int64] | None = None
    #: float64[row]: problems of each row; None where problems are rows.
    counts: NDArray[np.float64] | None = None

    def means(self, Y: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64[row, target]: the mean of float64[problem, target] over the problems of each row."""
        if self.place is None or self.counts is None:
            return Y
        sums = [np.bincount(self.place, column) for column in Y.T]
        return np.stack(sums, axis=1) / self.counts[:, None]

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[problem, ...] from [row, ...]."""
        return values if self.place is None else values[self.place]


def distinct(X: NDArray[np.float32]) -> Rows:
    """The distinct rows of float32[problem, width], in no order of meaning; all of them where few are equal."""
    worth = WORTH * len(X)
    if len(np.unique(_bytes(X[:, :_HEAD]))) > worth:
        return Rows(X)
    _, first, place, counts = np.unique(_bytes(X), return_index=True, return_inverse=True, return_counts=True)
    if len(first) > worth:
        return Rows(X)
    return Rows(X[first], place, counts.astype(np.float64))


def _bytes(X: NDArray[np.float32]) -> NDArray[np.void]:
    """void[row]: each row as one thing, which is compared byte by byte."""
    return np.ascontiguousarray(X).view(np.dtype((np.void, X.shape[1] * X.itemsize)))[:, 0]
