"""Ids and strings say the same, and what they say is the problem."""

import re

import numpy as np
import pytest

from arith_shared.problems import (
    encode,
    general_distribution,
    layout_distribution,
    output_tokens,
    sample,
    texts,
)
from arith_shared.problems.sampling import Problems

CHAINS = ["none", "short", "backtrack"]
DISTRIBUTIONS = [
    layout_distribution("eq1", max_number=99, names=25),
    layout_distribution("level-5", max_number=9, names=3),
    general_distribution(max_number=20, names=4),
]


def problem_6_5_9():
    """A=1+B, B=2+3, C=4+5 with names a, b, c; and the same with minus signs where the range allows."""
    return Problems(
        index=np.arange(2),
        layout=np.zeros(2, dtype=int),
        numbers=np.array([[1, 2, 3, 4, 5], [90, 40, 3, 9, 5]]),
        operators=np.array([[1, 1, 1], [-1, -1, -1]]),
        names=np.array([[0, 1, 2], [24, 3, 0]]),
        values=np.array([[6, 5, 9], [53, 37, 4]]),
        answer=np.array([6, 53]),
    )


@pytest.mark.parametrize(
    ("chain", "outputs"),
    [
        ("none", ("6", "53")),
        ("short", ("a=1+b, b=2+3, b=5, a=1+5, a=6", "y=90-d, d=40-3, d=37, y=90-37, y=53")),
        (
            "backtrack",
            ("a=1+b, b=2+3, b=5, a=1+b, a=1+5, a=6", "y=90-d, d=40-3, d=37, y=90-d, y=90-37, y=53"),
        ),
    ],
)
def test_a_problem_reads_as_written_by_hand(chain, outputs):
    questions = ("a=1+b, b=2+3, c=4+5; a=", "y=90-d, d=40-3, a=9-5; y=")
    assert texts(problem_6_5_9(), DISTRIBUTIONS[0], chain) == list(zip(questions, outputs, strict=True))


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=["eq1", "level-5", "general"])
def test_ids_are_the_tokens_of_the_strings_then_eos_then_padding(distribution, chain):
    problems = sample(distribution, "test", 0, 200, seed=0)
    encoded = encode(problems, distribution, chain)
    vocabulary = distribution.vocabulary
    for row, (question, output) in enumerate(texts(problems, distribution, chain)):
        asked, written = (re.findall(r"\d+|\S", text) for text in (question, output))
        length = len(asked) + len(written) + 1
        padding = encoded.ids.shape[1] - length
        expected = [*vocabulary.encode(asked + written), vocabulary.eos, *[vocabulary.pad] * padding]
        assert encoded.ids[row].tolist() == expected
        assert (encoded.question_length[row], encoded.length[row]) == (len(asked), length)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=["eq1", "level-5", "general"])
def test_no_batch_is_wider_than_its_longest_text(distribution):
    problems = sample(distribution, "valid", 0, 3, seed=0)
    encoded = encode(problems, distribution)
    assert encoded.ids.shape == (3, encoded.length.max())


def solved_chain(text):
    """Whether every formula of a chain holds once the values that it prints are put in for the names."""
    formulas = [part.split("=") for part in text.split(", ")]
    known = {name: int(side) for name, side in formulas if side.isdigit()}
    for name, side in formulas:
        terms = re.split(r"([+-])", side)
        numbers = [int(term) if term.isdigit() else known[term] for term in terms[::2]]
        total = numbers[0] + sum(
            n if sign == "+" else -n for sign, n in zip(terms[1::2], numbers[1:], strict=True)
        )
        if total != known[name]:
            return False
    return True


@pytest.mark.parametrize("chain", ["short", "backtrack"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=["eq1", "level-5", "general"])
def test_every_formula_of_a_chain_is_true_and_the_last_is_the_answer(distribution, chain):
    problems = sample(distribution, "probe", 0, 500, seed=8)
    for (question, output), answer in zip(texts(problems, distribution, chain), problems.answer, strict=True):
        assert solved_chain(output)
        assert output.endswith(f"{question[-2]}={answer}")


@pytest.mark.parametrize("chain", CHAINS)
def test_a_layouts_tokens_are_as_many_as_its_ids(chain):
    distribution = DISTRIBUTIONS[0]
    encoded = encode(sample(distribution, "test", 0, 2, seed=0), distribution, chain)
    output = output_tokens(distribution.layouts[0], chain)
    assert encoded.length.tolist() == [20 + len(output) + 1] * 2
