"""Half precision: float32 to 16 bits and back, refusing what does not fit.

float16 keeps 11 bits of precision but ends at 65504, which the outlier features of large LMs exceed;
bfloat16 keeps 8 bits and the range of float32. numpy has no bfloat16, so its bits are made here: the upper
half of a float32, rounded to nearest, ties to even.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Half = Literal["float16", "bfloat16"]

#: Largest finite magnitude of each storage dtype; what exceeds it would be stored as an infinity.
LARGEST: dict[Half, float] = {"float16": 65504.0, "bfloat16": float(2**127 * (2 - 2**-7))}


def fits(values: NDArray[np.float32], dtype: Half) -> bool:
    """Whether every value is finite and within the range of `dtype`."""
    # A NaN makes both comparisons false, so it needs no pass of its own.
    return values.size == 0 or bool(values.max() <= LARGEST[dtype] and values.min() >= -LARGEST[dtype])


def first_misfit(values: NDArray[np.float32], dtype: Half) -> tuple[int, ...]:
    """The index of the first value that does not fit into `dtype`; there must be one."""
    misfit = ~(np.abs(values) <= LARGEST[dtype])
    return tuple(int(i) for i in np.unravel_index(np.argmax(misfit), misfit.shape))


def encode_half(values: NDArray[np.float32], dtype: Half, out: NDArray[np.uint16]) -> None:
    """Round `values` to nearest even and write their bits to `out`, of the same shape; they must fit."""
    if dtype == "float16":
        out.view(np.float16)[...] = values
        return
    bits = values.view(np.uint32)
    # Just under half of the last kept bit, plus that bit itself: carries exactly when rounding up is due.
    out[...] = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16


def decode_half(bits: NDArray[np.uint16], dtype: Half, out: NDArray[np.float32]) -> None:
    """Write the float32 values of stored `bits` to `out`, of the same shape; exact."""
    if dtype == "float16":
        out[...] = bits.view(np.float16)
    else:
        np.left_shift(bits, 16, out=out.view(np.uint32), dtype=np.uint32)
