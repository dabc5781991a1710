"""Problems as lines of plain text for LMs with a tokenizer of their own, and where each of our tokens lies in them.

Demonstrations and problems are written alike: question, output, line break. `spaced` puts a space between tokens, as
the authors' later code does (``z = 0 + o , o = 4 + 5 ; z =? z = 0 + o , ...``); `compact` is what people write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from arith_shared.problems.chains import ChainStyle
from arith_shared.problems.distributions import Distribution
from arith_shared.problems.sampling import Problems, sample
from arith_shared.problems.text import words

Spacing = Literal["spaced", "compact"]

#: Problems in the fixed pool that demonstrations are taken from, of the split `demos`: no problem that is trained on,
#: evaluated or probed can be among them.
POOL = 100

#: What ends an output: LMs that were not trained on these problems know no other end.
END = "\n"


@dataclass(frozen=True, slots=True)
class Line:
    """One problem as text."""

    text: str
    #: Characters of the question.
    question_end: int
    #: First and last + 1 character of each word of question and output.
    spans: tuple[tuple[int, int], ...]


def lines(problems: Problems, distribution: Distribution, chain: ChainStyle, spacing: Spacing) -> list[Line]:
    """Each problem, gold output and line break included."""
    return [
        _line(question + output, len(question), spacing, chain)
        for question, output in words(problems, distribution, chain)
    ]


def demonstrations(
    distribution: Distribution, chain: ChainStyle, spacing: Spacing, *, count: int, seed: int
) -> str:
    """The text of `count` solved problems from the pool; empty for none.

    Seed 0 takes the first, as the authors' later code does; another seed shuffles the pool first.
    """
    pool = sample(distribution, "demos", 0, POOL, 0)
    order = np.random.default_rng(seed).permutation(POOL) if seed else np.arange(POOL)
    return "".join(line.text for line in lines(pool[order[:count]], distribution, chain, spacing))


def _line(words: list[str], question: int, spacing: Spacing, chain: ChainStyle) -> Line:
    text, spans, question_end = "", [], 0
    for place, sign in enumerate(words):
        if place == question and chain != "none":
            gap = " "
        elif spacing == "spaced":
            gap = "" if sign == "?" else " "
        else:
            gap = " " if place and words[place - 1] in ",;" else ""
        text += gap if place else ""
        spans.append((len(text), len(text) + len(sign)))
        text += sign
        if place == question - 1:
            question_end = len(text)
    return Line(text + END, question_end, tuple(spans))
