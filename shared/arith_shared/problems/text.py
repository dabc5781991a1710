"""Problems as text: token ids for LMs trained from scratch, and strings for everyone else.

A word is a number, value, name or sign, by its role in the layout; it is one token, or several where numbers are
spelt in digits.
"""

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
from arith_shared.problems.spelling import Spelling


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
    """The texts of all layouts."""

    #: int64[layout, word]: where each word's id stands in `columns`.
    columns: NDArray[np.int64]
    #: int64[layout, token]: the word that each token belongs to, and which piece of it it is.
    word: NDArray[np.int64]
    piece: NDArray[np.int64]
    #: int64[layout]: words of the question.
    question_words: NDArray[np.int64]
    #: int64[layout]: tokens of the question; of question, output and EOS.
    question_length: NDArray[np.int64]
    length: NDArray[np.int64]
    spelling: Spelling

    def last_tokens(self, layout: int) -> NDArray[np.int64]:
        """int64[word]: the token that completes each word, EOS left out."""
        word = self.word[layout, : self.length[layout] - 1]
        return np.flatnonzero(np.diff(word, append=word[-1] + 1))


def encode(problems: Problems, distribution: Distribution, chain: ChainStyle = "none") -> Encoded:
    """Token ids of `problems`, which were sampled from `distribution`."""
    texts = _plan(distribution, chain)
    parts = (problems.numbers.T, problems.operators.T, problems.names.T, problems.values.T)
    words = columns(*parts, distribution.whole_numbers)
    # Padding of the longest layout is of no use to problems of shorter ones.
    length = texts.length[problems.layout]
    longest = length.max(initial=0)
    if distribution.number_tokens == "number":
        ids = np.take_along_axis(words.T, texts.columns[problems.layout, :longest], axis=1)
    else:
        whole = np.take_along_axis(words.T, texts.columns[problems.layout], axis=1)
        spread = np.take_along_axis(whole, texts.word[problems.layout, :longest], axis=1)
        ids = texts.spelling.pieces[texts.piece[problems.layout, :longest], spread]
    return Encoded(ids, texts.question_length[problems.layout], length)


def longest_text(distribution: Distribution, chain: ChainStyle = "none") -> int:
    """Tokens of the longest text that a problem can have: question, output and EOS."""
    return int(_plan(distribution, chain).length.max())


def longest_question(distribution: Distribution, chain: ChainStyle = "none") -> int:
    """Tokens of the longest definition and question that a problem can have."""
    return int(_plan(distribution, chain).question_length.max())


def last_tokens(distribution: Distribution, chain: ChainStyle = "none") -> NDArray[np.int64]:
    """int64[word]: the token that completes each word of question and output, in a distribution of one layout."""
    if len(distribution.layouts) != 1:
        raise ValueError(f"expected a distribution of one layout, found {len(distribution.layouts)}")
    return _plan(distribution, chain).last_tokens(0)


def words(
    problems: Problems, distribution: Distribution, chain: ChainStyle = "none"
) -> list[tuple[list[str], list[str]]]:
    """The words of question and output of each problem."""
    encoded, plan = encode(problems, distribution, chain), _plan(distribution, chain)
    ends = {layout: (plan.last_tokens(layout) + 1).tolist() for layout in set(problems.layout.tolist())}
    signs = distribution.vocabulary.tokens
    found = []
    for row, layout in zip(encoded.ids.tolist(), problems.layout.tolist(), strict=True):
        starts = [0, *ends[layout][:-1]]
        spelt = [
            "".join(signs[token] for token in row[start:end])
            for start, end in zip(starts, ends[layout], strict=True)
        ]
        question = int(plan.question_words[layout])
        found.append((spelt[:question], spelt[question:]))
    return found


def texts(
    problems: Problems, distribution: Distribution, chain: ChainStyle = "none"
) -> list[tuple[str, str]]:
    """Question and output of each problem as people write them: ``("a=1+b, b=2+3, c=4+5; a=", "6")``."""
    spaced = {",": ", ", ";": "; "}
    return [
        (
            "".join(spaced.get(word, word) for word in question),
            "".join(spaced.get(word, word) for word in output),
        )
        for question, output in words(problems, distribution, chain)
    ]


@lru_cache(maxsize=8)
def _plan(distribution: Distribution, chain: ChainStyle) -> _Plan:
    layouts, spelling = distribution.layouts, Spelling.of(distribution)
    questions = [question_tokens(layout) for layout in layouts]
    outputs = [(*output_tokens(layout, chain), EOS) for layout in layouts]
    rows = [question + output for question, output in zip(questions, outputs, strict=True)]
    pieces = [[spelling.pieces_of(word) for word in row] for row in rows]
    lengths = [sum(map(len, row)) for row in pieces]
    word, piece = np.zeros((2, len(rows), max(lengths)), np.int64)
    for number, row in enumerate(pieces):
        word[number, : lengths[number]] = np.repeat(np.arange(len(row)), list(map(len, row)))
        piece[number, : lengths[number]] = np.concatenate(row)
    return _Plan(
        columns=plan(rows, Shape.of(layouts)),
        word=word,
        piece=piece,
        question_words=np.array([len(question) for question in questions]),
        question_length=np.array(
            [sum(map(len, row[: len(question)])) for row, question in zip(pieces, questions, strict=True)]
        ),
        length=np.array(lengths),
        spelling=spelling,
    )
