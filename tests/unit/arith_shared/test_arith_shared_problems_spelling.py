"""Numbers in digits, and values out of range: what stands in the text is the problem, token by token."""

import re
from itertools import product

import numpy as np
import pytest

from arith_shared.problems import (
    LAYOUTS,
    encode,
    general_distribution,
    given,
    last_tokens,
    layout_distribution,
    longest_text,
    probed_tokens,
    sample,
    texts,
)
from arith_shared.problems.sampling import Problems

CHAINS = ["none", "short", "backtrack"]
READINGS = [("number", "unrestricted"), ("digit", "in_range"), ("digit", "unrestricted")]


def distribution_of(name, number_tokens, values, max_number=99):
    if name == "general":
        return general_distribution(
            max_number=max_number, names=9, values=values, number_tokens=number_tokens
        )
    return layout_distribution(
        name, max_number=max_number, names=9, values=values, number_tokens=number_tokens, question="=?"
    )


def problem(numbers, operators, values):
    return Problems(
        index=np.arange(1),
        layout=np.zeros(1, dtype=int),
        numbers=np.array([numbers]),
        operators=np.array([operators]),
        names=np.array([[0, 1, 2]]),
        values=np.array([values]),
        answer=np.array(values[:1]),
    )


@pytest.mark.parametrize(
    ("number_tokens", "values", "expected"),
    [
        ("number", "in_range", ("a=7+b, b=2+30, c=4+5; a=", "a=7+b, b=2+30, b=32, a=7+32, a=39")),
        ("digit", "in_range", ("a=07+b, b=02+30, c=04+05; a=", "a=07+b, b=02+30, b=32, a=07+32, a=39")),
        ("digit", "unrestricted", ("a=07+b, b=02+30, c=04+05; a=", "a=07+b, b=02+30, b=+032, a=07++032, a=+039")),
    ],
)  # fmt: skip
def test_a_problem_is_spelt_as_written_by_hand(number_tokens, values, expected):
    distribution = layout_distribution(
        "eq1", max_number=99, names=9, values=values, number_tokens=number_tokens
    )
    assert texts(problem([7, 2, 30, 4, 5], [1, 1, 1], [39, 32, 9]), distribution, "short") == [expected]


@pytest.mark.parametrize(("number_tokens", "answer"), [("number", "-196"), ("digit", "-196")])
def test_a_negative_value_has_its_sign(number_tokens, answer):
    distribution = layout_distribution(
        "eq1", max_number=99, names=9, values="unrestricted", number_tokens=number_tokens
    )
    low = problem([1, 98, 99, 0, 0], [-1, 1, 1], [-196, 197, 0])
    assert texts(low, distribution)[0][1] == answer
    small = problem([1, 1, 1, 0, 0], [-1, 1, 1], [-1, 2, 0])
    assert texts(small, distribution)[0][1] == {"number": "-1", "digit": "-001"}[number_tokens]


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("name", ["eq1", "level-5", "general"])
@pytest.mark.parametrize(("number_tokens", "values"), READINGS)
def test_ids_spell_the_text_and_all_problems_of_a_layout_have_equally_many(
    name, number_tokens, values, chain
):
    distribution = distribution_of(name, number_tokens, values)
    problems = sample(distribution, "test", 0, 300, seed=1)
    encoded = encode(problems, distribution, chain)
    vocabulary = distribution.vocabulary
    lengths = {}
    for row, layout, question_length, length, (question, output) in zip(
        encoded.ids, problems.layout, encoded.question_length, encoded.length, texts(problems, distribution, chain),
        strict=True,
    ):  # fmt: skip
        asked, written = (
            list(text.replace(" ", "")) if number_tokens == "digit" else whole_numbers(text)
            for text in (question, output)
        )
        padding = [vocabulary.pad] * (encoded.ids.shape[1] - length)
        assert row.tolist() == [*vocabulary.encode(asked + written), vocabulary.eos, *padding]
        assert (question_length, length) == (len(asked), len(asked) + len(written) + 1)
        lengths.setdefault(layout, set()).add((question_length, length))
    assert all(len(found) == 1 for found in lengths.values())
    assert max(encoded.length) <= longest_text(distribution, chain)


def whole_numbers(text):
    """Tokens by a rule of their own: a minus is a sign where no operand stands before it."""
    tokens = []
    for piece in re.findall(r"\d+|\S", text):
        if piece.isdigit() and tokens[-1:] == ["-"] and (len(tokens) == 1 or tokens[-2] in "=+-?"):
            tokens[-1] = f"-{piece}"
        else:
            tokens.append(piece)
    return tokens


def solve(question):
    formulas = dict(part.split("=") for part in question.partition(";")[0].replace(" ", "").split(","))

    def value(side):
        if side in formulas:
            return value(formulas[side])
        left, sign, right = re.fullmatch(r"(\w+)(?:([+-])(\w+))?", side).groups()
        if sign is None:
            return int(side)
        return value(left) + (value(right) if sign == "+" else -value(right))

    return {name: value(name) for name in formulas}


@pytest.mark.parametrize("name", ["eq1", "level-2", "level-5", "general"])
@pytest.mark.parametrize(("number_tokens", "values"), READINGS)
def test_the_answer_is_what_the_text_comes_to(name, number_tokens, values):
    distribution = distribution_of(name, number_tokens, values)
    problems = sample(distribution, "probe", 0, 500, seed=2)
    for (question, output), answer in zip(texts(problems, distribution), problems.answer, strict=True):
        asked = question.rpartition("; ")[2][0]
        assert solve(question)[asked] == answer == int(output)
    low, high = distribution.value_range
    assert ((problems.values >= low) & (problems.values <= high)).all()
    assert (problems.values < 0).any() == (problems.values > 99).any() == (values == "unrestricted")


def test_the_values_reach_as_far_as_the_vocabulary_and_no_further():
    # A value is a sum of signed numbers, so its extremes are at corners of the range.
    reached = {}
    for name, layouts in [
        ("eq1", [LAYOUTS["eq1"]]),
        ("general", general_distribution(max_number=99, names=3).layouts),
    ]:
        values = set()
        for layout in layouts:
            for numbers in product([0, 99], repeat=layout.number_slots):
                for signs in product("+-", repeat=layout.operator_slots):
                    fill, operators = iter(numbers), iter(signs)
                    text = re.sub(r"\d", lambda _, fill=fill: str(next(fill)), layout.text)
                    text = re.sub(r"\+", lambda _, operators=operators: next(operators), text)
                    values |= set(solve(text).values())
        reached[name] = (min(values), max(values))
    assert reached["eq1"] == (-198, 297)
    unrestricted = general_distribution(max_number=99, names=3, values="unrestricted")
    assert reached["general"] == unrestricted.value_range == (-297, 396)
    assert unrestricted.vocabulary.decode(unrestricted.vocabulary.numbers)[0] == "-297"


def test_unrestricted_numbers_and_signs_are_uniform_and_independent():
    distribution = layout_distribution("eq1", max_number=3, names=26, values="unrestricted")
    problems = sample(distribution, "train", 0, 40_000, seed=3)
    outcomes = np.concatenate([problems.numbers, problems.operators > 0], axis=1)
    pairs = [
        np.unique(outcomes[:, [i, j]], axis=0, return_counts=True)[1] for i in range(8) for j in range(i)
    ]
    for counts in pairs:
        expected = len(problems) / len(counts)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("values", ["in_range", "unrestricted"])
def test_how_numbers_are_spelt_changes_no_problem_and_no_split(values):
    whole, spelt = (distribution_of("eq1", tokens, values) for tokens in ("number", "digit"))
    for split in ("train", "demos"):
        one, two = (sample(distribution, split, 0, 200, seed=4) for distribution in (whole, spelt))
        assert all(
            (getattr(one, name) == getattr(two, name)).all()
            for name in ("numbers", "operators", "names", "values")
        )


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize(("number_tokens", "values"), READINGS)
def test_each_position_is_complete_at_its_token_and_given_says_what_has_been_printed(
    name, number_tokens, values, chain
):
    distribution = distribution_of(name, number_tokens, values)
    (layout,) = distribution.layouts
    ends, printed = last_tokens(distribution, chain), given(layout, chain)
    problems = sample(distribution, "probe", 0, 5, seed=5)
    encoded = encode(problems, distribution, chain)
    for row, letters in zip(encoded.ids, problems.names, strict=True):
        tokens = distribution.vocabulary.decode(row)
        everything = "".join(tokens)
        for position, word in enumerate(probed_tokens(layout, chain)):
            read = "".join(tokens[: ends[position] + 1])
            after = everything[len(read) :]
            if word.kind in ("number", "value"):
                assert read[-1].isdigit()
                assert not after[:1].isdigit()
            elif word.kind == "name":
                assert read[-1] == chr(ord("a") + letters[word.index])
            else:
                assert read[-1] == word.label or word.kind == "operator"
            for variable in range(len(layout.variables)):
                letter = chr(ord("a") + letters[variable])
                # A formula that says nothing but the value, read to its end.
                ended = read if after[0] not in "+-" else read + after[0]
                stated = re.search(rf"{letter}=[+-]?\d+([,;]|$)", ended)
                assert bool(stated) == printed[position, variable]
