"""What the LM writes after the question: the answer alone, or a chain of formulas that ends in it.

`short` is the paper's equation 3, with the operands in the order of the definition; `backtrack` states a
pending formula again before a value is put into it, as the authors' later code does. Both mention only what
the asked variable depends on. A number form ``B=2`` is its own value and is stated once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arith_shared.problems.grammar import Formula, Layout, Token, join_formulas, question_tokens

ChainStyle = Literal["none", "short", "backtrack"]


def output_tokens(layout: Layout, chain: ChainStyle) -> tuple[Token, ...]:
    """The chain, if any, and the answer; without EOS."""
    values = _value_tokens(layout)
    if chain == "none":
        return (values[layout.question],)
    return join_formulas(tuple(_solve(layout, values, layout.question, again=chain == "backtrack")))


def probed_tokens(layout: Layout, chain: ChainStyle) -> tuple[Token, ...]:
    """The tokens whose hidden states are probed: the question's, and the chain's where there is one."""
    question = question_tokens(layout)
    return question if chain == "none" else question + output_tokens(layout, chain)


def given(layout: Layout, chain: ChainStyle) -> NDArray[np.bool_]:
    """bool[position, variable]: whether this or an earlier probed token prints the variable's value.

    A value is printed by a value token, and by the number of a form such as ``B=2``; never by a copy.
    """
    tokens = probed_tokens(layout, chain)
    prints = np.zeros((len(tokens), len(layout.variables)), dtype=np.bool_)
    numbers = {formula.operands[0]: formula.variable for formula in layout.formulas if _is_number(formula)}
    for position, token in enumerate(tokens):
        if token.kind == "value":
            prints[position, token.index] = True
        elif token in numbers:
            prints[position, numbers[token]] = True
    return np.logical_or.accumulate(prints, axis=0)


def _value_tokens(layout: Layout) -> tuple[Token, ...]:
    return tuple(
        Token("value", variable, str(value)) for variable, value in enumerate(layout.example_values())
    )


def _solve(layout: Layout, values: tuple[Token, ...], variable: int, again: bool) -> Iterator[Formula]:
    """The formulas that lead to `variable`; `again` restates a formula once its operand is known."""
    formula = layout.definition(variable)
    yield formula
    for needed in formula.needs:
        yield from _solve(layout, values, needed, again)
    if formula.needs and again:
        yield formula
    if formula.needs and formula.operator:
        yield replace(formula, operands=tuple(_known(operand, values) for operand in formula.operands))
    if not _is_number(formula):
        yield Formula(formula.target, (values[variable],))


def _known(operand: Token, values: tuple[Token, ...]) -> Token:
    return values[operand.index] if operand.kind == "name" else operand


def _is_number(formula: Formula) -> bool:
    return [operand.kind for operand in formula.operands] == ["number"]
