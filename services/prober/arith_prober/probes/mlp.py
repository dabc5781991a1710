"""The paper's probe (Kudo et al. 2024, equations 2, 4 and 5, table 1): two layers, ReLU, 30 steps of SGD.

    y = W2 relu(W1 h + b1) + b2        W1[width, width], b1[width], W2[1, width], b2[1]

One probe per layer, position and variable, nothing shared. The batch is all training problems, so an epoch
is one update. The paper names neither initialisation nor scaling; like its authors' later code this takes
PyTorch's default for `nn.Linear` and leaves hidden states and values as they are. The cost: 30 small steps
end far from convergence, so a score also depends on the scale of states and values, and large states can
diverge. Both are properties of the recipe; the ridge family beside it has neither.

Probes are fitted one after the other: a single fit already fills a core, and batching them was no faster. Equal
states are computed once (`distinct.py`); as the batch is everything, the gradient is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arith_prober.distinct import distinct
from arith_prober.probes.family import Pulse


def build_probe(width: int, seed: int) -> nn.Sequential:
    """Return a probe as PyTorch initialises it after `torch.manual_seed(seed)`; global state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1), nn.Flatten(0))


def train_probe(
    probe: nn.Sequential,
    X: Tensor,
    y: Tensor,
    epochs: int,
    lr: float,
    pulse: Pulse,
    counts: Tensor | None = None,
) -> None:
    """Fit `probe` in place to float32[row] `y`: full-batch gradient descent on the mean squared error.

    A row stands for `counts` problems, or for one.
    """
    parameters = list(probe.parameters())
    for _ in range(epochs):
        pulse()
        gradients = torch.autograd.grad(_loss(probe(X), y, counts), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=lr)


def _loss(predictions: Tensor, y: Tensor, counts: Tensor | None) -> Tensor:
    """The mean over problems of the squared error, but for what predictions cannot change."""
    if counts is None:
        return nn.functional.mse_loss(predictions, y)
    return (predictions - y).square() @ counts / counts.sum()


@dataclass(frozen=True, slots=True)
class Mlp:
    """The family `mlp`."""

    epochs: int
    lr: float
    device: torch.device

    @property
    def cheap_targets(self) -> bool:
        """Every target is a fit of its own."""
        return False

    def fit_predict(
        self,
        X_train: NDArray[np.float32],
        Y_train: NDArray[np.float64],
        X_eval: NDArray[np.float32],
        seeds: Sequence[int],
        pulse: Pulse,
    ) -> NDArray[np.float64]:
        """Fit one probe per target; see `Family`."""
        fit, asked = distinct(X_train), distinct(X_eval)
        train, evaluation, targets = (
            torch.tensor(values, dtype=torch.float32, device=self.device)
            for values in (fit.X, asked.X, fit.means(Y_train).T)
        )
        counts = None if fit.counts is None else train.new_tensor(fit.counts)
        columns = []
        for target, seed in zip(targets, seeds, strict=True):
            probe = build_probe(X_train.shape[1], seed).to(self.device)
            train_probe(probe, train, target, self.epochs, self.lr, pulse, counts)
            columns.append(predict(probe, evaluation))
        return asked.spread(np.stack(columns, axis=1))


@torch.no_grad()
def predict(probe: nn.Sequential, X: Tensor) -> NDArray[np.float64]:
    """Return float64[problem]: all NaN when a prediction or a parameter is not finite."""
    predictions: Tensor = probe(X)
    # A dead unit can hide an infinite weight from the predictions, so the parameters are checked as well.
    finite = all(bool(values.isfinite().all()) for values in (predictions, *probe.parameters()))
    return predictions.double().cpu().numpy() if finite else np.full(len(X), np.nan)
