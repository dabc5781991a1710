"""The task: arithmetic problems as distributions, samples, texts, and what can be known from a prefix."""

from arith_shared.problems.ceiling import ceiling
from arith_shared.problems.chains import ChainStyle, given, output_tokens, probed_tokens
from arith_shared.problems.distributions import (
    Distribution,
    NumberTokens,
    Values,
    general_distribution,
    layout_distribution,
)
from arith_shared.problems.grammar import LAYOUTS, Formula, Layout, Token, question_tokens
from arith_shared.problems.lessons import Lesson, lesson_distribution
from arith_shared.problems.prompts import POOL, Line, Spacing, demonstrations, lines
from arith_shared.problems.questions import every_question, sample_definitions
from arith_shared.problems.sampling import Problems, sample
from arith_shared.problems.splits import Split
from arith_shared.problems.text import Encoded, encode, last_tokens, longest_question, longest_text, texts
from arith_shared.problems.vocabulary import Vocabulary

__all__ = [
    "LAYOUTS",
    "POOL",
    "ChainStyle",
    "Distribution",
    "Encoded",
    "Formula",
    "Layout",
    "Lesson",
    "Line",
    "NumberTokens",
    "Problems",
    "Spacing",
    "Split",
    "Token",
    "Values",
    "Vocabulary",
    "ceiling",
    "demonstrations",
    "encode",
    "every_question",
    "general_distribution",
    "given",
    "last_tokens",
    "layout_distribution",
    "lesson_distribution",
    "lines",
    "longest_question",
    "longest_text",
    "output_tokens",
    "probed_tokens",
    "question_tokens",
    "sample",
    "sample_definitions",
    "texts",
]
