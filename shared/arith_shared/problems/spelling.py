"""Numbers spelt in digits: each digit is a token, and so is the sign of a value that may be negative (gap a).

Every number has as many digits as the largest, padded with zeros (``07``), and every value as many as the value that
is furthest from zero; a value carries its sign, + too, wherever values may be negative (``+007``). So all problems of
a layout have equally many tokens, as one token per number gives without effort, and no position can shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arith_shared.problems.distributions import Distribution
from arith_shared.problems.grammar import Token

Integers = NDArray[np.int64]

#: What a token of a text is of the word that it belongs to; from `_DIGIT` on the digit at 10**0, 10**1, ...
_PADDING, _WHOLE, _SIGN, _DIGIT = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class Spelling:
    """How many tokens each word of a text becomes, and which."""

    #: Digits of a number, and of a value; 0 where they are whole tokens.
    number_digits: int
    value_digits: int
    #: Whether a value begins with its sign.
    signed: bool
    #: int64[piece, id with whole numbers]: the id of each piece of a word.
    pieces: Integers

    @classmethod
    def of(cls, distribution: Distribution) -> Spelling:
        """The spelling of a distribution's numbers and values."""
        if distribution.number_tokens == "number":
            return cls(0, 0, False, np.zeros((0, 0), np.int64))
        low, high = distribution.value_range
        value_digits = len(str(max(high, -low)))
        return cls(
            len(str(distribution.max_number)), value_digits, low < 0, _pieces(distribution, value_digits)
        )

    def pieces_of(self, word: Token) -> list[int]:
        """Which pieces a word consists of, in reading order: rows of `pieces`."""
        digits = {"number": self.number_digits, "value": self.value_digits}.get(word.kind, 0)
        if not digits:
            return [_WHOLE]
        sign = [_SIGN] if word.kind == "value" and self.signed else []
        return sign + [_DIGIT + place for place in reversed(range(digits))]


def _pieces(distribution: Distribution, digits: int) -> Integers:
    whole, spelt = distribution.whole_numbers, distribution.vocabulary
    table = np.zeros((_DIGIT + digits, whole.size), np.int64)
    signs_and_names = np.arange(whole.first_name + whole.names)
    table[_WHOLE, signs_and_names] = signs_and_names
    if whole.question_mark:
        table[_WHOLE, -1] = spelt.size - 1
    number = whole.numbers - whole.first_number
    minus, plus = spelt.encode("-+")
    table[_SIGN, whole.numbers] = np.where(number < 0, minus, plus)
    for place in range(digits):
        table[_DIGIT + place, whole.numbers] = spelt.first_number + np.abs(number) // 10**place % 10
    return table
