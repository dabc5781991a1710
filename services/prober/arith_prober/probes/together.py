"""Several `mlp` probes in one batched product: the same fits as one by one, but for the order of sums.

    P  probe    N  problem    D  width

A GPU is not filled by one probe's step, and each small kernel costs a launch; a batch has as many launches as one
probe. `train_probe` is the reference, in results and in what is written down here again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from arith_model.devices import compute_dtype
from arith_prober.probes.family import Pulse
from arith_prober.probes.loss import mean_squared_error

#: Bytes that the hidden units of a batch, their gradients and copies may take.
BATCH_BYTES = 2**32
#: Arrays as large as the hidden units that are alive at once in a step.
_COPIES = 4


def train_together(
    probes: Sequence[nn.Sequential],
    X: Tensor,
    Y_PN: Tensor,
    epochs: int,
    lr: float,
    pulse: Pulse,
    dtype: str = "float32",
    counts: Tensor | None = None,
    batch_bytes: int = BATCH_BYTES,
) -> None:
    """Fit each probe in place to its row of float32 `Y_PN`, on `X`: float32[N, D], or [P, N, D] where states differ.

    A row of states stands for `counts` problems, or for one. At least one probe is fitted at a time, and as many as
    `batch_bytes` of memory allow.
    """
    X = X.to(getattr(torch, dtype))
    size = max(1, batch_bytes // (_COPIES * X.shape[-2] * X.shape[-1] * X.element_size()))
    for first in range(0, len(probes), size):
        chosen = slice(first, first + size)
        states = X if X.dim() == 2 else X[chosen]
        _train(probes[chosen], states, Y_PN[chosen], epochs, lr, pulse, dtype, counts)


def _train(
    probes: Sequence[nn.Sequential],
    X: Tensor,
    Y_PN: Tensor,
    epochs: int,
    lr: float,
    pulse: Pulse,
    dtype: str,
    counts: Tensor | None,
) -> None:
    each = [list(probe.parameters()) for probe in probes]
    stacked = [torch.stack(same).detach().requires_grad_() for same in zip(*each, strict=True)]
    X_PND = X.expand(len(probes), -1, -1)
    for _ in range(epochs):
        pulse()
        with compute_dtype(X.device, dtype):
            predicted = _forward(stacked, X_PND)
        gradients = torch.autograd.grad(mean_squared_error(predicted.float(), Y_PN, counts), stacked)
        with torch.no_grad():
            for parameter, gradient in zip(stacked, gradients, strict=True):
                parameter.sub_(gradient, alpha=lr)
    with torch.no_grad():
        for parameters, *values in zip(each, *stacked, strict=True):
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(value)


def _forward(stacked: Sequence[Tensor], X_PND: Tensor) -> Tensor:
    """[P, N]: what each probe predicts."""
    W1_PDD, b1_PD, W2_P1D, b2_P1 = stacked
    hidden_PND = torch.baddbmm(b1_PD[:, None], X_PND, W1_PDD.mT).relu()
    return torch.baddbmm(b2_P1[:, None], hidden_PND, W2_P1D.mT).squeeze(2)
