"""What the variables are worth: formulas of all layouts evaluated at once, in dependency order.

A register file holds a zero, the numbers, the values and a spare row for layouts with fewer formulas. Step
k of a layout's program reads two registers and a sign and writes one register; a form with a single operand
reads the zero as its second. The work per problem is the longest program of the distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arith_shared.problems.grammar import Formula, Layout, Token
from arith_shared.problems.rendering import Shape

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """intp[step, layout]: the registers that each step reads and writes, and the operator slot it uses."""

    shape: Shape
    left: Rows
    right: Rows
    operator: Rows
    target: Rows

    @classmethod
    def of(cls, layouts: Sequence[Layout], shape: Shape) -> Program:
        """Compile all `layouts`."""
        idle = (0, 0, 0, 1 + shape.numbers + shape.variables)
        steps = np.full((4, shape.variables, len(layouts)), np.array(idle)[:, None, None], dtype=np.intp)
        for number, layout in enumerate(layouts):
            for step, formula in enumerate(layout.by_dependency()):
                steps[:, step, number] = _compile(formula, shape)
        return cls(shape, *steps)

    def values(
        self, layout: Rows, numbers: NDArray[np.int64], operators: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """int64[variable, problem]: the values, in range or not; 0 for variables that a layout lacks.

        Arguments: intp[problem], or intp[1] where all problems share a layout; int64[slot, problem] twice,
        operators +1 or -1.
        """
        slots = self.shape.numbers
        registers = np.zeros((2 + slots + self.shape.variables, numbers.shape[1]), dtype=np.int64)
        registers[1 : 1 + slots] = numbers
        # Whole rows are far cheaper than one entry per problem.
        across = (np.arange(numbers.shape[1]),) if layout.size > 1 else ()
        for left, right, operator, target in zip(
            self.left, self.right, self.operator, self.target, strict=True
        ):
            value = registers[(right[layout], *across)]
            if self.shape.operators:
                value *= operators[(operator[layout], *across)]
            value += registers[(left[layout], *across)]
            registers[(target[layout], *across)] = value
        return registers[1 + slots : -1]


def _compile(formula: Formula, shape: Shape) -> tuple[int, int, int, int]:
    left, *rest = (_register(operand, shape) for operand in formula.operands)
    sign = formula.operator.index if formula.operator else 0
    return left, rest[0] if rest else 0, sign, _register(formula.target, shape)


def _register(token: Token, shape: Shape) -> int:
    return 1 + token.index + (shape.numbers if token.kind == "name" else 0)
