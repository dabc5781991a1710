"""Rounding on the LM's device gives the very bits of the store's own rounding, and refuses the same values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from arith_extractor.halves import fits_half, half_bits
from arith_shared.store.halves import LARGEST, encode_half, fits

DTYPES = ("float16", "bfloat16")


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_are_those_of_the_store(dtype):
    rng = np.random.default_rng(0)
    values = (rng.normal(size=20_000) * 10.0 ** rng.uniform(-12, 4, 20_000)).astype(np.float32)
    ties = ((rng.integers(0, 2**16, 20_000, dtype=np.uint32) << 16) | 0x8000).view(np.float32)
    edges = np.array([0.0, -0.0, 65504.0, -65504.0, 1e-45, 2**-24, 2**-25], np.float32)
    values = np.concatenate([values, ties[np.abs(ties) <= LARGEST[dtype]], edges]).reshape(1, -1)
    expected = np.empty(values.shape, np.uint16)
    encode_half(values, dtype, expected)
    np.testing.assert_array_equal(half_bits(torch.from_numpy(values), dtype), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "value", [0.0, 65504.0, 65505.0, -65505.0, 65520.0, 3.3e38, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan]
)
def test_the_same_values_are_refused(value, dtype):
    values = np.array([1.0, value, -1.0], np.float32)
    assert fits_half(torch.from_numpy(values), dtype) == fits(values, dtype)


def test_no_states_fit():
    assert fits_half(torch.empty(3, 0, 2), "float16")
