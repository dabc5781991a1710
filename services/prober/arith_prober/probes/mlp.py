"""The paper's probe (Kudo et al. 2024, equations 2, 4 and 5, table 1): two layers, ReLU, 30 steps of SGD.

    y = W2 relu(W1 h + b1) + b2        W1[width, width], b1[width], W2[1, width], b2[1]

One probe per layer, position and variable, nothing shared. The batch is all training problems, so an epoch
is one update. The paper names neither initialisation nor scaling; like its authors' later code this takes
PyTorch's default for `nn.Linear` and leaves hidden states and values as they are. The cost: 30 small steps
end far from convergence, so a score also depends on the scale of states and values, and large states can
diverge. Both are properties of the recipe; the ridge family beside it has neither.

With `dtype: bfloat16`, ours, the matrix products of a fit are rounded to bfloat16; the weights that are kept, the
loss, the update and the fitted probe's predictions are float32.

Equal states are computed once (`distinct.py`); as the batch is everything, the gradient is the same. On a CPU probes
are fitted one after the other: a single fit already fills a core, and batching them was no faster. On a GPU those of
one cell are fitted `together`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arith_model.devices import compute_dtype
from arith_prober.distinct import distinct
from arith_prober.probes.family import Pulse
from arith_prober.probes.loss import mean_squared_error
from arith_prober.probes.together import train_together


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
    dtype: str = "float32",
    counts: Tensor | None = None,
) -> None:
    """Fit `probe` in place to float32[row] `y`: full-batch gradient descent on the mean squared error.

    A row stands for `counts` problems, or for one.
    """
    parameters = list(probe.parameters())
    X = X.to(getattr(torch, dtype))
    for _ in range(epochs):
        pulse()
        with compute_dtype(X.device, dtype):
            predicted = probe(X)
        gradients = torch.autograd.grad(mean_squared_error(predicted.float(), y, counts), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=lr)


@dataclass(frozen=True, slots=True)
class Mlp:
    """The family `mlp`."""

    epochs: int
    lr: float
    device: torch.device
    dtype: str = "float32"
    #: Whether the probes of a cell are fitted in one batched product.
    together: bool = False

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
        counts = (
            None if fit.counts is None else torch.tensor(fit.counts, dtype=torch.float32, device=self.device)
        )
        probes = [build_probe(X_train.shape[1], seed).to(self.device) for seed in seeds]
        if self.together:
            train_together(probes, train, targets, self.epochs, self.lr, pulse, self.dtype, counts)
        else:
            for probe, target in zip(probes, targets, strict=True):
                train_probe(probe, train, target, self.epochs, self.lr, pulse, self.dtype, counts)
        return asked.spread(np.stack([predict(probe, evaluation) for probe in probes], axis=1))


@torch.no_grad()
def predict(probe: nn.Sequential, X: Tensor) -> NDArray[np.float64]:
    """Return float64[problem]: all NaN when a prediction or a parameter is not finite."""
    predictions: Tensor = probe(X)
    # A dead unit can hide an infinite weight from the predictions, so the parameters are checked as well.
    finite = all(bool(values.isfinite().all()) for values in (predictions, *probe.parameters()))
    return predictions.double().cpu().numpy() if finite else np.full(len(X), np.nan)
