"""A text is a gather: every token of every layout names a column of one matrix of token ids.

The columns are the vocabulary's signs, then a problem's numbers, operators, names and values, then the question
mark. Problems of
all layouts are so rendered at once, without a loop over layouts or problems. Arrays run over problems last,
since whole columns are computed at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arith_shared.problems.grammar import Layout, Token
from arith_shared.problems.vocabulary import SIGNS, Vocabulary

#: Tokens whose ids depend on neither problem nor vocabulary, with those ids.
_SIGNS = {sign: token for token, sign in enumerate(SIGNS)}

#: The token after the last one of a text.
EOS = Token("symbol", 0, "<eos>")


@dataclass(frozen=True, slots=True)
class Shape:
    """The most slots and variables that any layout of a distribution has."""

    numbers: int
    operators: int
    variables: int

    @classmethod
    def of(cls, layouts: Sequence[Layout]) -> Shape:
        """The shape that fits all `layouts`."""
        return cls(
            numbers=max(layout.number_slots for layout in layouts),
            operators=max(layout.operator_slots for layout in layouts),
            variables=max(len(layout.variables) for layout in layouts),
        )

    def column(self, token: Token) -> int:
        """The column of `columns` that holds the id of `token`."""
        operators = len(_SIGNS) + self.numbers
        names = operators + self.operators
        if token.label == "?":
            return names + 2 * self.variables
        first = {
            "symbol": _SIGNS.get(token.label, 0),
            "number": len(_SIGNS),
            "operator": operators,
            "name": names,
            "value": names + self.variables,
        }
        return first[token.kind] + token.index


def columns(
    numbers: NDArray[np.int64],
    operators: NDArray[np.int64],
    names: NDArray[np.int64],
    values: NDArray[np.int64],
    vocabulary: Vocabulary,
) -> NDArray[np.int64]:
    """int64[column, problem]: ids of everything that a token can be; arguments are int64[slot, problem]."""
    fixed = np.arange(len(_SIGNS))[:, None].repeat(numbers.shape[1], axis=1)
    signs = np.where(operators < 0, _SIGNS["-"], _SIGNS["+"])
    parts = (fixed, numbers + vocabulary.first_number, signs, names + vocabulary.first_name)
    mark = np.full_like(fixed[:1], vocabulary.size - 1)
    return np.concatenate((*parts, values + vocabulary.first_number, mark))


def plan(texts: Sequence[Sequence[Token]], shape: Shape) -> NDArray[np.int64]:
    """int64[layout, position]: the column of each token of each layout's text, right-padded with padding."""
    longest = max(map(len, texts))
    table = np.full((len(texts), longest), _SIGNS["<pad>"], dtype=np.int64)
    for row, text in zip(table, texts, strict=True):
        row[: len(text)] = [shape.column(token) for token in text]
    return table
