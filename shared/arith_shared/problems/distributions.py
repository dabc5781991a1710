"""Which layouts occur, how often, and what may stand in their slots.

A specialised LM sees one layout; a general one sees "random combinations of at most three basic formulas"
(Kudo et al. 2024, section 3.1). We read that as the grammar of the authors' later code: sequences of one to
three of the four forms in dependency order, where a variable on the right-hand side is always the previous
formula's. The first formula has no variable, which leaves 2 + 2*4 + 2*16 = 42 templates. Each is shown in
every order of its formulas, with both operand orders of the mixed form, and asks for any variable.

Values either stay in the range of the numbers, or may be anything that the formulas make of them ("gap b").

Two expansions may read the same (two independent formulas in either order): they become one layout with the
sum of their weights, 598 layouts in all. The paper's equation 1 is one of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, permutations, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arith_shared.problems.grammar import LAYOUTS, Layout, Question, Separator, parse_layout
from arith_shared.problems.vocabulary import Vocabulary

Lengths = Literal["templates", "uniform"]
#: Whether problems with a value outside the range of the numbers are rejected.
Values = Literal["in_range", "unrestricted"]
#: What a number is to an LM that is trained here.
NumberTokens = Literal["number", "digit"]
#: A sequence of forms in dependency order.
Template = tuple[str, ...]

#: Right-hand sides of each form: ``#`` is a number slot, ``@`` the variable of the previous formula.
_RIGHT_SIDES = {"number": ("#",), "copy": ("@",), "numbers": ("#+#",), "mixed": ("@+#", "#+@")}

#: The longest combination of formulas that the general LM is trained on (section 3.1).
_MAX_FORMULAS = 3

#: Largest number: the sampler's draws are unbiased to better than one in four million up to here.
_MAX_NUMBER = 999

#: Names are single lower-case letters.
_MAX_NAMES = 26


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """Problems of some layouts with numbers in 0..`max_number` and the first `names` letters."""

    layouts: tuple[Layout, ...]
    #: float64[layout], sums to 1: the share of each layout among accepted problems.
    weights: NDArray[np.float64]
    max_number: int
    names: int
    values: Values = "in_range"
    number_tokens: NumberTokens = "number"

    @property
    def value_range(self) -> tuple[int, int]:
        """The smallest and the largest value that a variable can have.

        Unrestricted it is what combinations of three formulas can reach, whatever the layouts: an LM that is trained
        on some and evaluated on others has one vocabulary.
        """
        if self.values == "in_range":
            return 0, self.max_number
        return -_MAX_FORMULAS * self.max_number, (_MAX_FORMULAS + 1) * self.max_number

    @property
    def whole_numbers(self) -> Vocabulary:
        """Token ids with one token for each number and value."""
        asks = any(layout.question_end == "=?" for layout in self.layouts)
        low, high = self.value_range
        return Vocabulary(high, self.names, question_mark=asks, min_number=low)

    @property
    def vocabulary(self) -> Vocabulary:
        """Token ids for LMs trained from scratch on these problems."""
        whole = self.whole_numbers
        return whole if self.number_tokens == "number" else replace(whole, max_number=9, min_number=0)


@cache
def layout_distribution(
    name: str,
    *,
    max_number: int,
    names: int,
    separator: Separator = ";",
    question: Question = "=",
    values: Values = "in_range",
    number_tokens: NumberTokens = "number",
) -> Distribution:
    """Problems of the one layout `name`; raise ValueError where there are none."""
    if name not in LAYOUTS:
        raise ValueError(f"layout {name!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    layout = replace(LAYOUTS[name], separator=separator, question_end=question)
    return _distribution({layout: 1.0}, max_number, names, values, number_tokens)


@cache
def general_distribution(
    *,
    max_number: int,
    names: int,
    lengths: Lengths = "templates",
    separator: Separator = ";",
    question: Question = "=",
    values: Values = "in_range",
    number_tokens: NumberTokens = "number",
) -> Distribution:
    """Random combinations of at most three formulas; raise ValueError where there are none.

    `lengths`: "templates" makes the 42 templates equally likely, so that 32 of 42 problems have three
    formulas; "uniform" draws a length first, then one of its templates. Orders and questions are equally
    likely.
    """
    weights: defaultdict[str, float] = defaultdict(float)
    for template, share in _template_shares(lengths):
        texts = list(_expansions(template))
        for text in texts:
            weights[text] += share / len(texts)
    layouts = {
        replace(parse_layout(text, text), separator=separator, question_end=question): weight
        for text, weight in weights.items()
    }
    return _distribution(layouts, max_number, names, values, number_tokens)


def templates(length: int) -> list[Template]:
    """All sequences of `length` forms in dependency order: the first has no variable to refer to."""
    closed = [form for form, (side, *_) in _RIGHT_SIDES.items() if "@" not in side]
    return list(product(closed, *[_RIGHT_SIDES] * (length - 1)))


def _template_shares(lengths: Lengths) -> Iterator[tuple[Template, float]]:
    by_length = [templates(length) for length in range(1, _MAX_FORMULAS + 1)]
    total = sum(map(len, by_length))
    for group in by_length:
        share = 1 / total if lengths == "templates" else 1 / (_MAX_FORMULAS * len(group))
        yield from ((template, share) for template in group)


def _expansions(template: Template) -> Iterator[str]:
    """The texts of `template`: operand orders x text orders x questions, repeated where two read the same."""
    letters = "ABC"[: len(template)]
    sides = product(*(_RIGHT_SIDES[form] for form in template))
    for chosen, order, asked in product(sides, permutations(range(len(template))), letters):
        # Letters follow the text, not the dependencies, so that equal texts get equal layouts.
        letter = {formula: letters[place] for place, formula in enumerate(order)}
        formulas = [f"{letter[k]}={chosen[k].replace('@', letter.get(k - 1, ''))}" for k in order]
        yield _number_slots(", ".join(formulas) + f"; {asked}=")


def _number_slots(text: str) -> str:
    digits = count(1)
    return "".join(str(next(digits)) if sign == "#" else sign for sign in text)


def _distribution(
    weights: dict[Layout, float], max_number: int, names: int, values: Values, number_tokens: NumberTokens
) -> Distribution:
    largest = max(weights, key=lambda layout: len(layout.variables))
    if not len(largest.variables) <= names <= _MAX_NAMES:
        raise ValueError(
            f"names {names}: layout {largest.name} needs {len(largest.variables)} variable names; "
            f"choose {len(largest.variables)} to {_MAX_NAMES}"
        )
    # From 1 on every variable of every layout can be 0 (all numbers 0) and 1 (one number 1, all signs +).
    if max_number < 1:
        raise ValueError(
            f"max_number {max_number}: variable {largest.variables[0]} of layout {largest.name} "
            "can take only one value; choose at least 1"
        )
    if max_number > _MAX_NUMBER:
        raise ValueError(f"max_number {max_number} is too large; choose at most {_MAX_NUMBER}")
    shares = np.array(list(weights.values()))
    shares.flags.writeable = False
    return Distribution(tuple(weights), shares, max_number, names, values, number_tokens)
