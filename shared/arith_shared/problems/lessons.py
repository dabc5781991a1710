"""Lessons of a curriculum (Bengio et al. 2009): simpler layouts of a distribution alone, or deeper ones more often.

A variable's *depth* is how many formulas its value takes: in ``A=1+B, B=2+3`` that of B is 1, that of A is 2. In the
general distribution .70 of the questions have depth 1, and an LM that answers these, and guesses, is slow to go on.
So `numbers` first teaches to find the formula that is asked for, `sums` to add, and `deep` to follow one formula to
the next. The paper trains on the whole distribution from the start; these are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np

from arith_shared.problems.distributions import Distribution
from arith_shared.problems.grammar import Layout

Lesson = Literal["numbers", "sums", "deep"]

#: How much more often than in the distribution a layout occurs in `deep`, by its deepest variable.
_DEEP = {1: 0.5, 2: 2.0, 3: 4.0}


def depth(layout: Layout, variable: int) -> int:
    """How many formulas it takes to work `variable` out; 1 where its own suffices."""
    needs = layout.definition(variable).needs
    return 1 + max((depth(layout, needed) for needed in needs), default=0)


@cache
def lesson_distribution(distribution: Distribution, lesson: Lesson) -> Distribution:
    """The part of `distribution` that `lesson` is about, with the same vocabulary.

    Raises ValueError where it has no such layout.
    """
    factor = _FACTORS[lesson]
    factors = np.array([factor(layout) for layout in distribution.layouts])
    chosen = np.flatnonzero(factors)
    if not chosen.size:
        raise ValueError(f"lesson {lesson}: no layout of the training set fits; leave it out of the course")
    weights = (distribution.weights * factors)[chosen]
    weights /= weights.sum()
    weights.flags.writeable = False
    return replace(distribution, layouts=tuple(distribution.layouts[k] for k in chosen), weights=weights)


def _numbers(layout: Layout) -> float:
    return float(all(len(formula.operands) == 1 and not formula.needs for formula in layout.formulas))


def _sums(layout: Layout) -> float:
    return float(not any(formula.needs for formula in layout.formulas))


def _deep(layout: Layout) -> float:
    return _DEEP[max(depth(layout, variable) for variable in range(len(layout.variables)))]


_FACTORS: dict[Lesson, Callable[[Layout], float]] = {"numbers": _numbers, "sums": _sums, "deep": _deep}
