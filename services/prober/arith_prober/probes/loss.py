"""What the `mlp` family minimises."""

from __future__ import annotations

from torch import Tensor


def mean_squared_error(predicted: Tensor, target: Tensor, counts: Tensor | None) -> Tensor:
    """float32[]: the mean over problems, of float32 [row] or [probe, row]; that of several probes is their sum.

    A row stands for `counts` problems, or for one. A sum over probes leaves each the gradient of its own mean.
    """
    if counts is None:
        return (predicted - target).square().mean(-1).sum()
    return ((predicted - target).square() @ counts).sum() / counts.sum()
