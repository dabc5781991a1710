"""A layout is what its example text says, and nothing that is no problem parses."""

import pytest

from arith_shared.problems import LAYOUTS, question_tokens
from arith_shared.problems.grammar import parse_layout


def test_equation_1_reads_as_twenty_tokens_with_slots_in_reading_order():
    tokens = question_tokens(LAYOUTS["eq1"])
    assert " ".join(token.label for token in tokens) == "A = 1 + B , B = 2 + 3 , C = 4 + 5 ; A ="
    assert [token.index for token in tokens if token.kind == "number"] == [0, 1, 2, 3, 4]
    assert [token.index for token in tokens if token.kind == "operator"] == [0, 1, 2]
    assert [token.index for token in tokens if token.kind == "name"] == [0, 1, 1, 2, 0]


def test_a_digit_is_a_label_and_its_place_is_the_slot():
    numbers = [token for token in question_tokens(LAYOUTS["level-2"]) if token.kind == "number"]
    assert [(token.label, token.index) for token in numbers] == [("2", 0), ("3", 1), ("1", 2)]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_tokens_of_a_layout_spell_its_text(layout):
    assert "".join(token.label for token in question_tokens(layout)) == layout.text.replace(" ", "")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("eq1", (6, 5, 9)),
        ("level-1", (3, 2)),
        ("level-2", (5, 6)),
        ("level-3", (6, 5)),
        ("level-4", (6, 5, 9)),
        ("level-5", (10, 9, 7)),
    ],
)
def test_the_example_is_worth_what_its_digits_add_up_to(name, values):
    assert LAYOUTS[name].example_values() == values


def test_every_formula_follows_what_it_needs_in_dependency_order():
    order = [formula.variable for formula in LAYOUTS["level-5"].by_dependency()]
    assert order == [2, 1, 0]


def test_level_4_is_equation_1():
    assert LAYOUTS["level-4"].formulas == LAYOUTS["eq1"].formulas


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1+B, B=A+2; A=", "in a circle"),
        ("A=1, A=2; A=", "twice"),
        ("A=1+B, B=2", "must end in a question"),
        ("A=1; A", "must end in a question"),
        ("A=B+C, B=1, C=2; A=", "none of the forms"),
        ("A=1+2+3; A=", "none of the forms"),
        ("A=1+B; A=", "'B' is neither"),
        ("A=1; B=", "'B' is neither"),
        ("A=12; A=", "'12' is neither"),
        ("A=1-2; A=", "'1-2' is neither"),
        ("a=1; a=", "'a' is neither"),
        ("A=; A=", "'' is neither"),
        ("", "must end in a question"),
    ],
)
def test_a_text_that_is_no_problem_is_refused_by_name(text, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_layout("odd", text)
    assert "layout odd" in str(error.value)
