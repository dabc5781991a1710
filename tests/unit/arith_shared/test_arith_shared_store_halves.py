"""Half precision rounds as torch does, and refuses what it cannot hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from arith_shared.store.halves import Half, decode_half, encode_half, first_misfit, fits

HALVES: tuple[Half, ...] = ("float16", "bfloat16")


def encoded(values, dtype):
    out = np.empty(values.shape, np.uint16)
    encode_half(values, dtype, out)
    return out


def decoded(bits, dtype):
    out = np.empty(bits.shape, np.float32)
    decode_half(bits, dtype, out)
    return out


def difficult(dtype, rng):
    """float32[value] that fit: many magnitudes, exact ties between two halves, subnormals, both zeros."""
    spread = (rng.normal(size=20_000) * 10.0 ** rng.uniform(-45, 37, 20_000)).astype(np.float32)
    bfloat16_ties = ((rng.integers(0, 2**16, 20_000, dtype=np.uint32) << 16) | 0x8000).view(np.float32)
    lower = rng.integers(0, 0x7BFF, 20_000, dtype=np.uint16)
    float16_ties = (lower.view(np.float16).astype(np.float32) + (lower + np.uint16(1)).view(np.float16)) / 2
    edges = np.array([0.0, -0.0, 65504.0, -65504.0, 1e-45], np.float32)
    values = np.concatenate([spread, bfloat16_ties, float16_ties, edges])
    return values[[fits(value[None], dtype) for value in values]]


@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_is_that_of_torch(dtype):
    values = difficult(dtype, np.random.default_rng(0))
    oracle = torch.from_numpy(values).to(getattr(torch, dtype))
    assert len(values) > 20_000
    np.testing.assert_array_equal(encoded(values, dtype), oracle.view(torch.uint16).numpy())
    np.testing.assert_array_equal(decoded(encoded(values, dtype), dtype), oracle.float().numpy())


@pytest.mark.parametrize("dtype", HALVES)
def test_every_finite_half_survives_the_way_to_float32_and_back(dtype):
    bits = np.arange(2**16).astype(np.uint16)
    bits = bits[torch.from_numpy(bits).view(getattr(torch, dtype)).isfinite().numpy()]
    assert len(bits) > 60_000
    np.testing.assert_array_equal(encoded(decoded(bits, dtype), dtype), bits)


def test_subnormal_halves_are_read_where_the_processor_takes_small_numbers_for_zero():
    bits = np.array([1, 0x03FF, 0x8001, 0x0400], np.uint16)
    expected = [2.0**-24, 1023 * 2.0**-24, -(2.0**-24), 2.0**-14]
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        found = decoded(bits, "float16")
    finally:
        torch.set_flush_denormal(False)
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("float16", 65504.0, True),
        ("float16", 65505.0, False),
        ("float16", -65505.0, False),
        ("bfloat16", 65505.0, True),
        ("bfloat16", torch.finfo(torch.bfloat16).max, True),
        ("bfloat16", np.finfo(np.float32).max, False),
        ("bfloat16", np.inf, False),
        ("float16", np.nan, False),
        ("bfloat16", np.nan, False),
    ],
)
def test_what_does_not_fit_is_found_where_it_is(dtype, value, expected):
    values = np.zeros((2, 3, 4), np.float32)
    values[1, 2, 1] = value
    assert fits(values, dtype) is expected
    if not expected:
        assert first_misfit(values, dtype) == (1, 2, 1)


@pytest.mark.parametrize("dtype", HALVES)
def test_nothing_fits_everywhere(dtype):
    assert fits(np.empty((0, 4), np.float32), dtype)
