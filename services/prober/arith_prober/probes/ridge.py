"""A linear probe in closed form: ridge regression, its penalty chosen by generalised cross-validation.

Features and targets are centred, not scaled: scaling would blow up directions in which nothing but rounding
varies. One eigendecomposition of the covariance serves every penalty and every target, so that further
targets (shuffled-label controls) cost one matrix column each. The price is width^3 for each cell, paid in
float64, because a covariance squares the condition number of the states.

Penalties are relative to the mean eigenvalue of the covariance: the same candidates suit any layer, whatever
the norm of its states, and a penalty is positive whenever anything varies, so rank-deficient states (few
distinct tokens, constant features, fewer problems than features) need no special case.

Generalised cross-validation (Golub, Heath and Wahba 1979) takes the penalty that minimises

    (RSS / n) / (1 - dof / n)^2        dof = 1 + sum_j s_j / (s_j + penalty)

leave-one-out with each problem's leverage replaced by the mean. It needs only the spectrum s.

Equal states are multiplied once (`distinct.py`): a row and its mean targets times the square root of its number of
problems give the covariances of all problems; n and the variance of the targets stay those of all problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arith_prober.distinct import distinct
from arith_prober.probes.family import Pulse


@dataclass(frozen=True, slots=True)
class Ridge:
    """The family `ridge`; `penalties` are relative to the mean eigenvalue of the features' covariance."""

    penalties: tuple[float, ...]
    device: torch.device

    @property
    def cheap_targets(self) -> bool:
        """All targets share one factorisation."""
        return True

    def fit_predict(
        self,
        X_train: NDArray[np.float32],
        Y_train: NDArray[np.float64],
        X_eval: NDArray[np.float32],
        seeds: Sequence[int],
        pulse: Pulse,
    ) -> NDArray[np.float64]:
        """Fit all targets at once; nothing here is random, so `seeds` do not matter. See `Family`."""
        pulse()
        fit, asked = distinct(X_train), distinct(X_eval)
        counts = np.ones(len(fit.X)) if fit.counts is None else fit.counts
        X, Y, evaluation, n_u, intercepts, variances = (
            torch.tensor(values, dtype=torch.float64, device=self.device)
            for values in (fit.X, fit.means(Y_train), asked.X, counts, Y_train.mean(0), Y_train.var(0))
        )
        # Less its first row a constant feature is exactly zero, which a mean alone cannot promise.
        origin, n = X[0].clone(), len(X_train)
        X -= origin
        means, root = n_u @ X / n, n_u.sqrt()[:, None]
        weights = solve(root * (X - means), root * (Y - intercepts), variances, n, self.penalties)
        predictions = (evaluation - origin - means) @ weights + intercepts
        return asked.spread(predictions.cpu().numpy())


def solve(X: Tensor, Y: Tensor, variances: Tensor, n: int, penalties: Sequence[float]) -> Tensor:
    """Return weights float64[width, target] for centred `X`[row, width] and `Y`[row, target] of `n` problems.

    A row is a problem, or several with equal states, times the root of their number; `variances` are the targets'.
    """
    spectrum, directions = torch.linalg.eigh(X.T @ X / n)
    if not spectrum.any():
        return torch.zeros(X.shape[1], Y.shape[1], dtype=X.dtype, device=X.device)
    loadings = directions.T @ (X.T @ Y) / n
    candidates = spectrum.mean() * torch.tensor(penalties, dtype=X.dtype, device=X.device)
    chosen = candidates[_gcv(spectrum, loadings, variances, candidates, n).argmin(0)]
    weights: Tensor = directions @ (loadings / (spectrum[:, None] + chosen))
    return weights


def _gcv(spectrum: Tensor, loadings: Tensor, variances: Tensor, candidates: Tensor, n: int) -> Tensor:
    """Return float64[penalty, target] from spectrum[direction] and loadings[direction, target]."""
    damped = spectrum + candidates[:, None]
    explained = ((spectrum + 2 * candidates[:, None]) / damped.square()) @ loadings.square()
    dof = 1 + (spectrum / damped).sum(1, keepdim=True)
    criterion: Tensor = (variances - explained) / (1 - dof / n).square()
    return criterion
