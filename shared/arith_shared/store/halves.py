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

_SIGN_AND_DIGITS = np.uint32(0x8FFFE000).view(np.int32)
_TO_FLOAT32 = np.float32(2.0**112)
_SUBNORMAL = np.float32(2.0**-149)
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
    """Write the float32 values of stored `bits`, all finite, to `out`, of the same shape; exact.

    numpy turns one float16 at a time; whole arrays are 3 to 5 times faster. float16 is float32 with an exponent
    that is smaller by 112 and has fewer digits: moved there, it is right after a multiplication by 2^112.
    """
    whole = out.view(np.int32)
    if dtype == "bfloat16":
        np.left_shift(bits, 16, out=whole.view(np.uint32), dtype=np.uint32)
    elif _SUBNORMAL * _TO_FLOAT32 == 0:
        # Something in this process told the processor to take numbers below 2^-126 for 0, as halves on their way are.
        out[...] = bits.view(np.float16)
    else:
        # The sign goes along: it fills the upper half, of which the mask leaves its place.
        whole[...] = bits.view(np.int16)
        np.left_shift(whole, 13, out=whole)
        np.bitwise_and(whole, _SIGN_AND_DIGITS, out=whole)
        np.multiply(out, _TO_FLOAT32, out=out)
