"""What the `mlp` family minimises."""

from __future__ import annotations

from torch import Tensor, nn


def mean_squared_error(predicted: Tensor, target: Tensor, counts: Tensor | None) -> Tensor:
    """float32[]: the mean over problems, of float32 [row] or [probe, row]; that of several probes is their sum.

    A row stands for `counts` problems, or for one. A sum over probes leaves each the gradient of its own mean.
    """
    if counts is None:
        return nn.functional.mse_loss(predicted, target) * (target.numel() // target.shape[-1])
    return ((predicted - target).square() @ counts).sum() / counts.sum()
