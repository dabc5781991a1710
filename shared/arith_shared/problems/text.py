"""Problems as text: token ids for LMs trained from scratch, and strings for everyone else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from arith_shared.problems.chains import ChainStyle, output_tokens
from arith_shared.problems.distributions import Distribution
from arith_shared.problems.grammar import question_tokens
from arith_shared.problems.rendering import EOS, Shape, columns, plan
from arith_shared.problems.sampling import Problems


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Question, output and EOS of each problem as token ids."""

    #: int64[problem, position], right-padded.
    ids: NDArray[np.int64]
    #: int64[problem]: tokens of the question.
    question_length: NDArray[np.int64]
    #: int64[problem]: tokens of question, output and EOS.
    length: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """The texts of all layouts: int64[layout, position], int64[layout], int64[layout]."""

    columns: NDArray[np.int64]
    question_length: NDArray[np.int64]
    length: NDArray[np.int64]


def encode(problems: Problems, distribution: Distribution, chain: ChainStyle = "none") -> Encoded:
    """Token ids of `problems`, which were sampled from `distribution`."""
    texts = _plan(distribution, chain)
    parts = (problems.numbers.T, problems.operators.T, problems.names.T, problems.values.T)
    ids = columns(*parts, distribution.vocabulary)
    # Padding of the longest layout is of no use to problems of shorter ones.
    length = texts.length[problems.layout]
    chosen = texts.columns[problems.layout, : length.max(initial=0)]
    return Encoded(np.take_along_axis(ids.T, chosen, axis=1), texts.question_length[problems.layout], length)


def texts(
    problems: Problems, distribution: Distribution, chain: ChainStyle = "none"
) -> list[tuple[str, str]]:
    """Question and output of each problem as people write them: ``("a=1+b, b=2+3, c=4+5; a=", "6")``."""
    encoded = encode(problems, distribution, chain)
    written = {",": ", ", ";": "; "}
    strings = [written.get(token, token) for token in distribution.vocabulary.tokens]
    rows = zip(encoded.ids.tolist(), encoded.question_length.tolist(), encoded.length.tolist(), strict=True)
    return [
        (
            "".join(strings[token] for token in row[:question]),
            "".join(strings[token] for token in row[question : end - 1]),
        )
        for row, question, end in rows
    ]


@lru_cache(maxsize=8)
def _plan(distribution: Distribution, chain: ChainStyle) -> _Plan:
    layouts = distribution.layouts
    questions = [question_tokens(layout) for layout in layouts]
    outputs = [(*output_tokens(layout, chain), EOS) for layout in layouts]
    rows = [question + output for question, output in zip(questions, outputs, strict=True)]
    return _Plan(
        columns=plan(rows, Shape.of(layouts)),
        question_length=np.array([len(question) for question in questions]),
        length=np.array([len(row) for row in rows]),
    )
