"""The general grammar is counted by hand, and impossible distributions are refused before anything is drawn."""

import re
from collections import Counter
from itertools import permutations, product
from math import isclose

import numpy as np
import pytest

from arith_shared.problems import LAYOUTS, general_distribution, layout_distribution
from arith_shared.problems.distributions import templates


def test_there_are_42_templates():
    assert [len(templates(length)) for length in (1, 2, 3)] == [2, 8, 32]


def independent_texts(length):
    """Every general text of `length` formulas with its share, built from letters instead of templates."""
    shares = Counter()
    forms = {"i": ["#"], "ii": ["@"], "iii": ["#+#"], "iv": ["@+#", "#+@"]}
    for chosen in product(forms, repeat=length):
        if chosen[0] in ("ii", "iv"):
            continue
        for sides in product(*(forms[form] for form in chosen)):
            operand_orders = 2 ** chosen.count("iv")
            for letters in permutations("ABC"[:length]):
                lines = [
                    f"{letters[k]}={sides[k]}".replace("@", letters[k - 1] if k else "")
                    for k in range(length)
                ]
                for asked in letters:
                    text = ", ".join(sorted(lines)) + f"; {asked}="
                    for digit in range(text.count("#")):
                        text = text.replace("#", str(digit + 1), 1)
                    shares[text] += 1 / (operand_orders * len(list(permutations(letters))) * length)
    return shares


@pytest.mark.parametrize("lengths", ["templates", "uniform"])
def test_every_general_text_has_the_share_that_counting_by_letters_gives(lengths):
    expected = Counter()
    for length, count in ((1, 2), (2, 8), (3, 32)):
        share = 1 / 42 if lengths == "templates" else 1 / (3 * count)
        for text, weight in independent_texts(length).items():
            expected[text] += share * weight
    distribution = general_distribution(max_number=99, names=25, lengths=lengths)
    found = {
        layout.text: weight for layout, weight in zip(distribution.layouts, distribution.weights, strict=True)
    }
    assert found.keys() == expected.keys()
    assert all(isclose(found[text], expected[text]) for text in found)
    assert isclose(distribution.weights.sum(), 1.0)


def test_no_two_general_layouts_read_the_same():
    layouts = general_distribution(max_number=9, names=3).layouts
    assert len({layout.text for layout in layouts}) == len(layouts) == 598


@pytest.mark.parametrize("name", ["eq1", "level-1", "level-3", "level-5"])
def test_the_general_grammar_contains_the_evaluated_layouts(name):
    texts = {layout.text for layout in general_distribution(max_number=9, names=3).layouts}
    assert LAYOUTS[name].text in texts


def test_a_layout_distribution_holds_the_one_layout():
    distribution = layout_distribution("level-5", max_number=9, names=5)
    assert distribution.layouts == (LAYOUTS["level-5"],)
    assert np.array_equal(distribution.weights, [1.0])
    assert (distribution.vocabulary.max_number, distribution.vocabulary.names) == (9, 5)


def test_shares_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        general_distribution(max_number=9, names=3).weights[0] = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_number": 9, "names": 2}, "names 2: layout eq1 needs 3 variable names; choose 3 to 26"),
        ({"max_number": 9, "names": 27}, "names 27: layout eq1 needs 3 variable names; choose 3 to 26"),
        (
            {"max_number": 0, "names": 3},
            "max_number 0: variable A of layout eq1 can take only one value; choose at least 1",
        ),
        ({"max_number": 1000, "names": 3}, "max_number 1000 is too large; choose at most 999"),
    ],
)
def test_what_no_problem_can_satisfy_is_refused_with_the_remedy(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        layout_distribution("eq1", **arguments)
    with pytest.raises(ValueError, match=re.escape(message.partition(":")[0])):
        general_distribution(**arguments)


def test_an_unknown_layout_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'eq2' is unknown; choose one of eq1, level-1"):
        layout_distribution("eq2", max_number=9, names=3)


@pytest.mark.parametrize("name", ["level-1", "level-2", "level-3"])
def test_two_names_suffice_for_two_variables(name):
    assert layout_distribution(name, max_number=1, names=2).names == 2
