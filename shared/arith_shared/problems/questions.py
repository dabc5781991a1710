"""Every question that a definition has an answer to, beside the one that its layout asks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from arith_shared.errors import SpecError
from arith_shared.problems.chains import ChainStyle
from arith_shared.problems.distributions import Distribution
from arith_shared.problems.rendering import Shape
from arith_shared.problems.sampling import Problems, joined, sample
from arith_shared.problems.splits import Split, TextHash, share
from arith_shared.problems.text import Encoded, encode

#: Draws at a time, at most, and draws in vain after which nothing is expected; what is found depends on neither.
_BLOCK = 65_536


def asking(distribution: Distribution, variable: int) -> Distribution:
    """The same layouts with `variable` asked for, where they have it; else with their own question."""
    layouts = tuple(
        replace(layout, question=variable) if variable < len(layout.variables) else layout
        for layout in distribution.layouts
    )
    return replace(distribution, layouts=layouts)


def sample_definitions(distribution: Distribution, split: Split, count: int, seed: int) -> Problems:
    """`count` problems of which `split` owns the text of every question: all can be asked, and none is of two splits.

    Texts go to splits one by one, so a definition of three variables is kept in a quarter of the cases in `train`.
    Drawing such layouts so much more often leaves their shares as they are in `distribution`.
    """
    variables = np.array([len(layout.variables) for layout in distribution.layouts])
    weights = distribution.weights / share(split) ** (variables - 1)
    weights /= weights.sum()
    weights.flags.writeable = False
    drawn = replace(distribution, weights=weights)
    shape = Shape.of(drawn.layouts)
    hashes = [TextHash.of(asking(drawn, variable).layouts, shape) for variable in range(shape.variables)]
    found, start = [sample(drawn, split, 0, 0, seed)], 0
    while (missing := count - sum(map(len, found))) > 0:
        if start >= _BLOCK and len(found) == 1:
            raise SpecError(
                f"lm.training.questions: expected definitions of which {split} owns every question, found none in "
                f"{start:,} draws; raise task.names or task.max_number, or set it to one"
            )
        size = min(_BLOCK, 8 * missing)
        block = sample(drawn, split, start, size, seed)
        kept = block[_all_owned(block, hashes, split)]
        found += [kept[:missing]] if len(kept) else []
        start += size
    return joined(found)


def every_question(
    problems: Problems, distribution: Distribution, chain: ChainStyle = "none"
) -> tuple[list[Encoded], NDArray[np.bool_]]:
    """For each variable the texts that ask for it, and bool[variable, problem]: whether the problem has it.

    A problem without the variable asks its own question there.
    """
    counts = np.array([len(layout.variables) for layout in distribution.layouts])
    variables = np.arange(counts.max())
    texts = [encode(problems, asking(distribution, int(variable)), chain) for variable in variables]
    return texts, variables[:, None] < counts[problems.layout]


def _all_owned(problems: Problems, hashes: list[TextHash], split: Split) -> NDArray[np.bool_]:
    parts = (problems.numbers.T, problems.operators.T, problems.names.T)
    owned = [each.owned(split, problems.layout, *parts) for each in hashes]
    every: NDArray[np.bool_] = np.logical_and.reduce(owned)
    return every
