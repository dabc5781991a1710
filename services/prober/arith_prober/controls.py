"""Shuffled-label controls (Hewitt and Liang 2019): what a probe scores when there is nothing to read.

The values of a variable are permuted over problems, and then everything is done as for the variable itself.
Training and evaluation values are both permuted. Scoring against the true evaluation values would
also average to 0, but not be small: where the states vary along a single direction, a fit to noise still
points along it, and |r| would be 1. With both permuted the standard deviation is 1 / sqrt(n_eval), always.

What is reported is the mean of r, with its sign, over the repetitions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arith_prober.metrics import Floats, pearson
from arith_prober.seeds import generator


def shuffled(values: Floats, variables: Sequence[str], repetitions: int, seed: int) -> Floats:
    """Permute float64[problem, variable] to float64[problem, repetition * variable], variables innermost."""
    columns = [
        generator(seed, "control", variable, repetition).permutation(column)
        for repetition in range(repetitions)
        for variable, column in zip(variables, values.T, strict=True)
    ]
    return np.stack(columns, axis=1) if columns else values[:, :0]


def control_scores(predictions: Floats, truth: Floats, variables: int) -> list[float | None]:
    """Return the mean r per variable over the columns of `shuffled`; None where no repetition has one."""
    values = [correlation.value for correlation in pearson(predictions, truth)]
    repetitions = [
        [value for value in values[index::variables] if value is not None] for index in range(variables)
    ]
    return [sum(found) / len(found) if found else None for found in repetitions]
