"""Token ids of the problem language, for LMs trained from scratch: one token per whole number.

Order: padding, end of sequence, signs, names, numbers, and a question mark where questions end in one. Numbers
come in order, negative ones first, so that the id of a number is an offset plus the number. A vocabulary of digits is
one of the numbers to 9 (`spelling.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from string import ascii_lowercase
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

#: Padding and end of sequence, then the signs of the grammar; their place is their id.
SIGNS = ("<pad>", "<eos>", "=", ",", ";", "+", "-")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of problems with numbers `min_number`..`max_number` and the first `names` lower-case letters."""

    max_number: int
    names: int
    #: Whether there is a question mark; it comes last, so that no other id depends on it.
    question_mark: bool = False
    #: Below 0 where values may be.
    min_number: int = 0

    pad: ClassVar[int] = 0
    eos: ClassVar[int] = 1
    #: Id of the first name, ``a``.
    first_name: ClassVar[int] = len(SIGNS)

    @property
    def first_number(self) -> int:
        """Id of the number 0."""
        return self.first_name + self.names - self.min_number

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return self.first_number + self.max_number + 1 + self.question_mark

    @property
    def numbers(self) -> NDArray[np.int64]:
        """int64[number]: the ids of `min_number`..`max_number`."""
        return self.first_number + np.arange(self.min_number, self.max_number + 1, dtype=np.int64)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every token, by id."""
        return _tokens(self)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of `tokens`; raise ValueError for one that is not in the vocabulary."""
        ids = _ids(self)
        try:
            return [ids[token] for token in tokens]
        except KeyError as error:
            raise ValueError(
                f"token {error.args[0]!r} is not in the vocabulary: expected {self.min_number} to {self.max_number}, "
                f"a to {ascii_lowercase[self.names - 1]}, or one of {' '.join(SIGNS)}"
            ) from None

    def decode(self, ids: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Tokens of `ids`."""
        tokens = self.tokens
        return [tokens[int(token)] for token in ids]


@cache
def _tokens(vocabulary: Vocabulary) -> tuple[str, ...]:
    numbers = (str(number) for number in range(vocabulary.min_number, vocabulary.max_number + 1))
    mark = ("?",) if vocabulary.question_mark else ()
    return (*SIGNS, *ascii_lowercase[: vocabulary.names], *numbers, *mark)


@cache
def _ids(vocabulary: Vocabulary) -> dict[str, int]:
    return {token: position for position, token in enumerate(_tokens(vocabulary))}
