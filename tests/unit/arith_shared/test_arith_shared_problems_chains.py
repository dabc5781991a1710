"""What the LM writes, checked literally for every layout, and where values are printed."""

import numpy as np
import pytest

from arith_shared.problems import LAYOUTS, given, output_tokens, probed_tokens, question_tokens
from arith_shared.problems.grammar import parse_layout

SHORT = {
    "eq1": "A=1+B,B=2+3,B=5,A=1+5,A=6",
    "level-1": "A=1+B,B=2,A=1+2,A=3",
    "level-2": "B=1+A,A=2+3,A=5,B=1+5,B=6",
    "level-3": "A=1+B,B=2+3,B=5,A=1+5,A=6",
    "level-4": "A=1+B,B=2+3,B=5,A=1+5,A=6",
    "level-5": "A=1+B,B=2+C,C=3+4,C=7,B=2+7,B=9,A=1+9,A=10",
}
BACKTRACK = {
    "eq1": "A=1+B,B=2+3,B=5,A=1+B,A=1+5,A=6",
    "level-1": "A=1+B,B=2,A=1+B,A=1+2,A=3",
    "level-2": "B=1+A,A=2+3,A=5,B=1+A,B=1+5,B=6",
    "level-3": "A=1+B,B=2+3,B=5,A=1+B,A=1+5,A=6",
    "level-4": "A=1+B,B=2+3,B=5,A=1+B,A=1+5,A=6",
    "level-5": "A=1+B,B=2+C,C=3+4,C=7,B=2+C,B=2+7,B=9,A=1+B,A=1+9,A=10",
}
OTHER = [
    ("A=1; A=", "A=1", "A=1"),
    ("A=1+2; A=", "A=1+2,A=3", "A=1+2,A=3"),
    ("A=B, B=1; A=", "A=B,B=1,A=1", "A=B,B=1,A=B,A=1"),
    ("A=B, B=1+2; A=", "A=B,B=1+2,B=3,A=3", "A=B,B=1+2,B=3,A=B,A=3"),
    ("A=B+1, B=2; A=", "A=B+1,B=2,A=2+1,A=3", "A=B+1,B=2,A=B+1,A=2+1,A=3"),
    ("A=1+B, B=2+3; B=", "B=2+3,B=5", "B=2+3,B=5"),
]


def written(layout, chain):
    return "".join(token.label for token in output_tokens(layout, chain))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_chain_of_every_layout_reads_as_written_by_hand(name):
    assert written(LAYOUTS[name], "short") == SHORT[name]
    assert written(LAYOUTS[name], "backtrack") == BACKTRACK[name]


@pytest.mark.parametrize(("text", "short", "backtrack"), OTHER)
def test_every_form_has_its_chain_whatever_is_asked(text, short, backtrack):
    layout = parse_layout(text, text)
    assert (written(layout, "short"), written(layout, "backtrack")) == (short, backtrack)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_without_a_chain_the_output_is_the_value_asked_for(layout):
    (answer,) = output_tokens(layout, "none")
    assert (answer.kind, answer.index) == ("value", layout.question)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("chain", ["short", "backtrack"])
def test_a_chain_ends_in_the_answer(layout, chain):
    assert output_tokens(layout, chain)[-1] == output_tokens(layout, "none")[0]


def test_only_a_chain_is_probed_beyond_the_question():
    layout = LAYOUTS["eq1"]
    assert probed_tokens(layout, "none") == question_tokens(layout)
    assert len(probed_tokens(layout, "short")) == 20 + 25
    assert len(probed_tokens(layout, "backtrack")) == 20 + 31


def first_given(name, chain):
    """The position from which on each variable's value stands in the text; None where it never does."""
    table = given(LAYOUTS[name], chain)
    assert (np.diff(table.astype(int), axis=0) >= 0).all()
    return [int(column.argmax()) if column.any() else None for column in table.T]


def test_a_question_gives_no_value_that_must_be_worked_out():
    assert first_given("eq1", "none") == [None, None, None]


def test_a_number_form_gives_its_variable_away_in_the_question():
    # A = 1 + B , B = 2
    assert first_given("level-1", "none") == [None, 8]


def test_a_chain_gives_each_value_from_the_token_that_prints_it():
    # A = 1 + B , B = 2 + 3 , B = 5 , A = 1 + 5 , A = 6 after twenty tokens; C is never printed.
    assert first_given("eq1", "short") == [20 + 24, 20 + 14, None]
    assert first_given("eq1", "backtrack") == [20 + 30, 20 + 14, None]


def test_a_copy_prints_no_value():
    layout = parse_layout("copy", "A=B, B=1+2; A=")
    assert not given(layout, "none").any()
