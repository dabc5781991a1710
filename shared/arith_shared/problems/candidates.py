"""One candidate problem per key: numbers, operators and names decoded from a few 64-bit words.

Digits of any radix are taken off the top of a 54-bit fraction by multiplication; at most 2**32 outcomes
come from one word, so no outcome is likelier than another by more than one part in four million.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from arith_shared.problems.counters import Words, word

Integers = NDArray[np.int64]

#: Words of a candidate: numbers and operators from 0 on, then these; a stream's candidates lie `WORDS` apart.
LAYOUT_WORD, NAMES_WORD, WORDS = 6, 7, 8

#: Bits of a word that digits are drawn from: times a radix below 2**10 they still fit into 64.
_FRACTION_BITS = 54

#: Outcomes per word, at most.
_OUTCOMES = 2**32


def draw_numbers(keys: Words, slots: int, radix: int) -> Integers:
    """int64[slot, key]: independent and uniform in 0..radix-1."""
    drawn = np.empty((slots, len(keys)), dtype=np.int64)
    per_word = max(count for count in range(1, 33) if radix**count <= _OUTCOMES)
    for first in range(0, slots, per_word):
        rows = drawn[first : first + per_word]
        for row, digit in zip(rows, _digits(word(keys, first // per_word), [radix] * len(rows)), strict=True):
            row[:] = digit
    return drawn


def draw_operators(keys: Words, slots: int) -> Integers:
    """int64[slot, key]: +1 or -1, from the bits of word 0 that `draw_numbers` leaves."""
    bits = word(keys, 0).view(np.int64)
    drawn = np.empty((slots, len(keys)), dtype=np.int64)
    for slot, row in enumerate(drawn):
        row[:] = 1 - 2 * (bits >> slot & 1)
    return drawn


def draw_names(keys: Words, variables: int, names: int) -> Integers:
    """int64[variable, key]: different letters, uniform over all ordered choices."""
    chosen = np.empty((variables, len(keys)), dtype=np.int64)
    digits = _digits(word(keys, NAMES_WORD), range(names, names - variables, -1))
    for row, digit in zip(chosen, digits, strict=True):
        row[:] = digit
    # Each digit counts the letters that are still free: from the last choice back, step over the taken one.
    for first in range(variables - 2, -1, -1):
        later = chosen[first + 1 :]
        later += later >= chosen[first]
    return chosen


def draw_layouts(keys: Words, first_attempt: int, cumulative: NDArray[np.float64]) -> NDArray[np.intp]:
    """intp[key]: a layout each, for the candidates from `first_attempt` on, by cumulative weight."""
    words = word(keys, first_attempt * WORDS + LAYOUT_WORD)
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.searchsorted(cumulative[:-1], uniform, side="right")


def _digits(words: Words, radices: Iterable[int]) -> Iterator[Words]:
    fraction = words >> np.uint64(64 - _FRACTION_BITS)
    for radix in radices:
        product = fraction * np.uint64(radix)
        yield product >> np.uint64(_FRACTION_BITS)
        fraction = product & np.uint64(2**_FRACTION_BITS - 1)
