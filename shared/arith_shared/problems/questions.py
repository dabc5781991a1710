"""Every question that a definition has an answer to, beside the one that its layout asks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arith_shared.problems.chains import ChainStyle
from arith_shared.problems.distributions import Distribution
from arith_shared.problems.rendering import Shape
from arith_shared.problems.sampling import Problems
from arith_shared.problems.splits import Split, TextHash
from arith_shared.problems.text import Encoded, encode


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Problems with another variable asked for."""

    encoded: Encoded
    #: bool[problem]: whether there is that variable, and `split` owns the text that asks for it.
    owned: NDArray[np.bool_]


def every_question(
    problems: Problems, distribution: Distribution, split: Split, chain: ChainStyle = "none"
) -> list[Asked]:
    """For each variable that a layout may have, the problems with it asked for; a question is never of two splits.

    Owned is the question that was drawn, and each other one in as many cases as the split owns texts: half in
    `train`. A layout without the variable asks its own question, unowned.
    """
    shape = Shape.of(distribution.layouts)
    variables = np.array([len(layout.variables) for layout in distribution.layouts])
    parts = (problems.numbers.T, problems.operators.T, problems.names.T)
    found = []
    for variable in range(shape.variables):
        asking = replace(
            distribution,
            layouts=tuple(
                replace(layout, question=variable) if variable < len(layout.variables) else layout
                for layout in distribution.layouts
            ),
        )
        owned = TextHash.of(asking.layouts, shape).owned(split, problems.layout, *parts)
        owned &= variable < variables[problems.layout]
        found.append(Asked(encode(problems, asking, chain), owned))
    return found
