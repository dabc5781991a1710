"""The best correlation that anyone could reach from the tokens read so far; exact, by enumeration.

The best predictor of a value y from a prefix is E[y | prefix], and its Pearson r with y is sqrt(Var(E[y |
prefix]) / Var(y)). A probe above it has seen what it should not have; a probe that only reaches it has
computed nothing that reading alone does not give. (For equation 1 with 0..99 that is 0.70 for C before its
second operand, the "at most about 0.7" of Kudo et al. 2024, figure 2.)

(Without rejection of values outside the range it would be 0.89.)

A position is read once its last token is: where numbers are spelt in digits, at the last one.

Variables that no chain of formulas connects are independent given the constraint on the range, so each
connected component is enumerated on its own: four million assignments for A and B of equation 1 with 0..99.
The splits' hash is taken for what it is meant to be, independent of everything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arith_shared.problems.chains import ChainStyle, probed_tokens
from arith_shared.problems.distributions import Distribution
from arith_shared.problems.grammar import Formula, Layout, Token, question_tokens

#: Assignments of one component that are enumerated at most: a few seconds, and a gigabyte of memory.
MAX_ASSIGNMENTS = 2**25


def ceiling(distribution: Distribution, chain: ChainStyle) -> NDArray[np.float64]:
    """float64[position, variable]: the largest Pearson r reachable from probed tokens 0..position.

    For distributions with a single layout; raises ValueError for others. NaN while a component with more than
    `MAX_ASSIGNMENTS` assignments is being read; before and after it the figures are known without
    enumeration. Once the question is read every value is determined, so output positions are 1.
    """
    if len(distribution.layouts) != 1:
        raise ValueError(
            f"a ceiling belongs to one layout, and this distribution has {len(distribution.layouts)}"
        )
    (layout,) = distribution.layouts
    figures = np.ones((len(probed_tokens(layout, chain)), len(layout.variables)))
    tokens = question_tokens(layout)
    for component in _components(layout):
        slots = _slots(layout, component)
        reached = _reached(distribution, slots, component)
        read = np.cumsum([token in slots for token in tokens])
        figures[: len(tokens), component] = reached[read]
    return figures


def _components(layout: Layout) -> list[list[int]]:
    """The variables, grouped by what formulas connect."""
    groups = [{variable} for variable in range(len(layout.variables))]
    for formula in layout.formulas:
        linked = {formula.variable, *formula.needs}
        joined = set().union(*(group for group in groups if group & linked))
        groups = [group for group in groups if not group & linked] + [joined]
    return [sorted(group) for group in groups]


def _slots(layout: Layout, component: list[int]) -> list[Token]:
    """The numbers and operators of a component's formulas, in reading order."""
    own = [formula for formula in layout.formulas if formula.variable in component]
    return [token for formula in own for token in formula.tokens if token.kind in ("number", "operator")]


def _reached(distribution: Distribution, slots: list[Token], component: list[int]) -> NDArray[np.float64]:
    """float64[slots read, variable of the component]"""
    (layout,), (low, high) = distribution.layouts, distribution.value_range
    figures = np.full((len(slots) + 1, len(component)), np.nan)
    figures[0], figures[-1] = 0.0, 1.0
    sizes = [2 if slot.kind == "operator" else distribution.max_number + 1 for slot in slots]
    if np.prod(sizes, dtype=float) > MAX_ASSIGNMENTS:
        return figures
    values = _values(layout, slots, component, sizes)
    accepted = np.ones(sizes, dtype=np.bool_)
    for value in values:
        accepted &= (value >= low) & (value <= high)
    for column, value in enumerate(values):
        figures[1:-1, column] = _prefix_correlations(value, accepted)[1:-1]
    return figures


def _values(
    layout: Layout, slots: list[Token], component: list[int], sizes: list[int]
) -> list[NDArray[np.int64]]:
    """int64[slot, ...] for each variable: one axis per slot, of length 1 where the slot does not matter."""
    grid = {slot: np.arange(size) for slot, size in zip(slots, sizes, strict=True)}
    open_grid = dict(zip(grid, np.ix_(*grid.values()), strict=True))
    values: dict[int, NDArray[np.int64]] = {}

    def read(token: Token) -> NDArray[np.int64]:
        return values[token.index] if token.kind == "name" else open_grid[token]

    def evaluate(formula: Formula) -> NDArray[np.int64]:
        first, *rest = map(read, formula.operands)
        return first + (1 - 2 * open_grid[formula.operator]) * rest[0] if formula.operator else first

    for formula in layout.by_dependency():
        if formula.variable in component:
            values[formula.variable] = evaluate(formula)
    return [values[variable] for variable in component]


def _prefix_correlations(value: NDArray[np.int64], accepted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float64[slots read]; axes are slots in reading order, so a sum over the last is one given a prefix."""
    mean = np.where(accepted, value, 0).sum() / accepted.sum()
    sums = np.where(accepted, value - mean, 0.0)
    counts = accepted
    explained = [np.sum(sums**2)]
    while sums.ndim:
        sums, counts = sums.sum(axis=-1), counts.sum(axis=-1)
        explained.append(np.sum(sums**2 / np.maximum(counts, 1)))
    shares: NDArray[np.float64] = np.clip(np.array(explained[::-1]) / explained[0], 0, 1)
    return np.sqrt(shares)
