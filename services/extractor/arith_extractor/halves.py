"""Half precision on the LM's device: half as many bytes leave it, and torch rounds faster than numpy.

The bits are those of `arith_shared.store.halves`, which needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arith_shared.store.halves import LARGEST

if TYPE_CHECKING:
    from arith_shared.store.halves import Half


def fits_half(states: Tensor, dtype: Half) -> bool:
    """Whether every state is finite and within the range of `dtype`."""
    if not states.numel():
        return True
    # A NaN is the minimum and the maximum of whatever holds it, and compares as false.
    low, high = (float(extreme) for extreme in states.aminmax())
    return -LARGEST[dtype] <= low and high <= LARGEST[dtype]


def half_bits(states: Tensor, dtype: Half) -> NDArray[np.uint16]:
    """uint16, of the shape of `states`: rounded to nearest even."""
    half = states.to(getattr(torch, dtype)).view(torch.int16)
    if half.is_cuda:
        # Into pinned memory the device copies by itself, while it goes on computing on other streams.
        pinned = torch.empty(half.shape, dtype=half.dtype, pin_memory=True)
        half = pinned.copy_(half, non_blocking=True)
        torch.cuda.current_stream(states.device).synchronize()
    return half.cpu().numpy().view(np.uint16)
