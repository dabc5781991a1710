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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
        X, Y, evaluation = (
            torch.tensor(values, dtype=torch.float64, device=self.device)
            for values in (X_train, Y_train, X_eval)
        )
        # Less its first row a constant feature is exactly zero, which a mean alone cannot promise.
        origin, intercepts = X[0].clone(), Y.mean(0)
        X -= origin
        means = X.mean(0)
        weights = solve(X - means, Y - intercepts, self.penalties)
        return ((evaluation - origin - means) @ weights + intercepts).cpu().numpy()


def solve(X: Tensor, Y: Tensor, penalties: Sequence[float]) -> Tensor:
    """Return weights float64[width, target] for centred `X`[problem, width] and `Y`[problem, target]."""
    n = len(X)
    spectrum, directions = torch.linalg.eigh(X.T @ X / n)
    if not spectrum.any():
        return torch.zeros(X.shape[1], Y.shape[1], dtype=X.dtype, device=X.device)
    loadings = directions.T @ (X.T @ Y) / n
    candidates = spectrum.mean() * torch.tensor(penalties, dtype=X.dtype, device=X.device)
    chosen = candidates[_gcv(spectrum, loadings, Y.square().mean(0), candidates, n).argmin(0)]
    weights: Tensor = directions @ (loadings / (spectrum[:, None] + chosen))
    return weights


def _gcv(spectrum: Tensor, loadings: Tensor, variances: Tensor, candidates: Tensor, n: int) -> Tensor:
    """Return float64[penalty, target] from spectrum[direction] and loadings[direction, target]."""
    damped = spectrum + candidates[:, None]
    explained = ((spectrum + 2 * candidates[:, None]) / damped.square()) @ loadings.square()
    dof = 1 + (spectrum / damped).sum(1, keepdim=True)
    criterion: Tensor = (variances - explained) / (1 - dof / n).square()
    return criterion
