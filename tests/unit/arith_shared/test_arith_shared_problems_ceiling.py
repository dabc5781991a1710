"""Ceilings against an enumeration of texts in plain Python, and against the published figures."""

from collections import defaultdict
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from arith_shared.problems import (
    LAYOUTS,
    ceiling,
    general_distribution,
    layout_distribution,
    probed_tokens,
    question_tokens,
)


def readings(layout, max_number, restricted=True):
    """Every acceptable problem as (words of the question, values by letter), by substitution into the text."""
    labels = [token.label for token in question_tokens(layout)]
    digits = [place for place, label in enumerate(labels) if label.isdigit()]
    signs = [place for place, label in enumerate(labels) if label == "+"]
    for numbers in product(range(max_number + 1), repeat=len(digits)):
        for operators in product("+-", repeat=len(signs)):
            words = list(labels)
            for place, word in zip(digits + signs, [*map(str, numbers), *operators], strict=True):
                words[place] = word
            values = solve("".join(words))
            if not restricted or all(0 <= value <= max_number for value in values.values()):
                yield words, values


def solve(text):
    formulas = dict(part.split("=") for part in text.partition(";")[0].split(","))

    def value(side):
        if side in formulas:
            return value(formulas[side])
        for sign in "+-":
            left, found, right = side.partition(sign)
            if found:
                return value(left) + (value(right) if sign == "+" else -value(right))
        return int(side)

    return {name: value(name) for name in formulas}


def brute_force(layout, max_number, restricted=True):
    """float64[position, variable]: correlation of each value with its mean over equal prefixes."""
    problems = list(readings(layout, max_number, restricted))
    table = []
    for position in range(len(question_tokens(layout))):
        row = []
        for letter in layout.variables:
            groups = defaultdict(list)
            for words, values in problems:
                groups[tuple(words[: position + 1])].append(values[letter])
            pairs = [(value, sum(group) / len(group)) for group in groups.values() for value in group]
            truth, best = np.array(pairs).T
            row.append(0.0 if np.ptp(best) < 1e-9 else np.corrcoef(truth, best)[0, 1])
        table.append(row)
    return np.array(table)


@pytest.mark.parametrize("name", ["eq1", "level-1", "level-2", "level-3", "level-5"])
def test_ceilings_are_those_of_brute_force_over_texts(name):
    found = ceiling(layout_distribution(name, max_number=2, names=3), "none")
    assert found == pytest.approx(brute_force(LAYOUTS[name], 2), abs=1e-7)


@pytest.mark.parametrize("name", ["eq1", "level-1", "level-2", "level-3", "level-5"])
def test_ceilings_of_unrestricted_values_are_those_of_brute_force_over_texts(name):
    found = ceiling(layout_distribution(name, max_number=2, names=3, values="unrestricted"), "none")
    assert found == pytest.approx(brute_force(LAYOUTS[name], 2, restricted=False), abs=1e-7)


def test_without_rejection_the_distractors_first_operand_and_sign_alone_give_point_89():
    values = [(x, sign, x + sign * y) for x in range(100) for sign in (1, -1) for y in range(100)]
    mean = Fraction(sum(value for _, _, value in values), len(values))
    total = sum((value - mean) ** 2 for *_, value in values)

    def reached(key):
        groups = defaultdict(list)
        for x, sign, value in values:
            groups[key(x, sign)].append(value)
        explained = sum(
            len(group) * (Fraction(sum(group), len(group)) - mean) ** 2 for group in groups.values()
        )
        return float(explained / total) ** 0.5

    assert reached(lambda x, sign: sign) == pytest.approx(0.77, abs=0.005)
    exact = reached(lambda x, sign: (x, sign))
    assert exact == pytest.approx(0.89, abs=0.005)
    for number_tokens in ("number", "digit"):
        figures = ceiling(
            layout_distribution(
                "eq1", max_number=99, names=25, values="unrestricted", number_tokens=number_tokens
            ),
            "none",
        )
        assert at(figures, "A = 1 + B , B = 2 + 3 , C = 4 +", "C") == pytest.approx(exact, abs=1e-12)


def at(figures, text, variable):
    """The ceiling of a variable once `text`, a part of equation 1, has been read."""
    return figures[len(text.split()) - 1, "ABC".index(variable)]


def test_equation_1_with_0_to_99_has_the_figures_of_independent_sampling():
    figures = ceiling(layout_distribution("eq1", max_number=99, names=25), "none")
    first, second = "A = 1 +", "A = 1 + B , B = 2 +"
    third = "A = 1 + B , B = 2 + 3 , C = 4 +"
    assert at(figures, first, "A") == pytest.approx(0.70, abs=0.005)
    assert at(figures, second, "A") == pytest.approx(0.83, abs=0.005)
    assert at(figures, second + " 3", "A") == pytest.approx(1, abs=1e-9)
    assert at(figures, first, "B") == pytest.approx(0.50, abs=0.005)
    assert at(figures, second, "B") == pytest.approx(0.74, abs=0.005)
    assert at(figures, second + " 3", "B") == pytest.approx(1, abs=1e-9)
    assert at(figures, second + " 3", "C") == 0
    assert at(figures, third, "C") == pytest.approx(0.70, abs=0.005)
    assert at(figures, third + " 5", "C") == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("max_number", "rounded"), [(99, 0.7036), (9, 0.6742)])
def test_the_distractor_of_equation_1_has_the_ceiling_that_exact_fractions_give(max_number, rounded):
    groups = [
        [value for other in range(max_number + 1) if 0 <= (value := number + sign * other) <= max_number]
        for number in range(max_number + 1)
        for sign in (1, -1)
    ]
    everything = [value for group in groups for value in group]
    mean = Fraction(sum(everything), len(everything))
    explained = sum(len(group) * (Fraction(sum(group), len(group)) - mean) ** 2 for group in groups)
    exact = float(explained / sum((value - mean) ** 2 for value in everything)) ** 0.5
    assert exact == pytest.approx(rounded, abs=5e-5)
    figures = ceiling(layout_distribution("eq1", max_number=max_number, names=25), "none")
    assert at(figures, "A = 1 + B , B = 2 + 3 , C = 4 +", "C") == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("chain", ["none", "short", "backtrack"])
def test_reading_on_never_lowers_a_ceiling_and_the_whole_question_determines_everything(name, chain):
    figures = ceiling(layout_distribution(name, max_number=5, names=3), chain)
    question = len(question_tokens(LAYOUTS[name]))
    assert figures.shape == (len(probed_tokens(LAYOUTS[name], chain)), len(LAYOUTS[name].variables))
    assert (np.diff(figures, axis=0) > -1e-12).all()
    assert (figures[0] == 0).all()
    assert figures[question - 1 :] == pytest.approx(1, abs=1e-12)


def test_what_is_too_large_to_enumerate_is_nan_only_while_it_is_being_read():
    figures = ceiling(layout_distribution("eq1", max_number=999, names=25), "none")
    # A = 1 + B , B = 2 + 3 , C = 4 + 5: A and B have 4e9 assignments, C has 2e6.
    assert np.isnan(figures[2:10, :2]).all()
    assert (figures[:2, :2] == 0).all()
    assert (figures[10:, :2] == 1).all()
    assert not np.isnan(figures[:, 2]).any()


def test_a_ceiling_belongs_to_one_layout():
    with pytest.raises(ValueError, match="belongs to one layout, and this distribution has 598"):
        ceiling(general_distribution(max_number=9, names=3), "none")
