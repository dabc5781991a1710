"""Problems are what they say they are, uniform, reproducible from any range, and never in two splits."""

import re
from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from arith_shared.errors import SpecError
from arith_shared.problems import (
    LAYOUTS,
    Distribution,
    general_distribution,
    layout_distribution,
    sample,
    texts,
)
from arith_shared.problems.arithmetic import Program
from arith_shared.problems.candidates import draw_numbers, draw_operators
from arith_shared.problems.counters import stream, streams
from arith_shared.problems.grammar import parse_layout
from arith_shared.problems.rendering import Shape
from arith_shared.problems.splits import SPLITS

DISTRIBUTIONS = {
    "eq1": layout_distribution("eq1", max_number=99, names=25),
    "eq1-digits": layout_distribution("eq1", max_number=9, names=25),
    "level-5": layout_distribution("level-5", max_number=9, names=26),
    "general": general_distribution(max_number=99, names=25),
    "general-large": general_distribution(max_number=999, names=3, lengths="uniform"),
}
ARRAYS = ("index", "layout", "numbers", "operators", "names", "values", "answer")


def equal(left, right):
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in ARRAYS)


def solve(text):
    """Values by name, and the name asked for, of a text such as ``a=1+b, b=2; a=``: arithmetic on strings."""
    definition, _, question = text.partition("; ")
    formulas = dict(part.split("=") for part in definition.split(", "))

    def value(expression):
        if expression.isdigit():
            return int(expression)
        if expression in formulas:
            return value(formulas[expression])
        left, sign, right = re.fullmatch(r"(\w+)([+-])(\w+)", expression).groups()
        return value(left) + (value(right) if sign == "+" else -value(right))

    return {name: value(name) for name in formulas}, question.removesuffix("=")


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_values_are_what_arithmetic_on_the_text_gives_and_all_in_range(name):
    distribution = DISTRIBUTIONS[name]
    problems = sample(distribution, "probe", 0, 400, seed=3)
    for row, (question, answer) in enumerate(texts(problems, distribution)):
        values, asked = solve(question)
        layout = distribution.layouts[problems.layout[row]]
        letters = ["abcdefghijklmnopqrstuvwxyz"[letter] for letter in problems.names[row]][
            : len(layout.variables)
        ]
        assert set(letters) == set(values)
        assert [values[letter] for letter in letters] == problems.values[row, : len(letters)].tolist()
        assert values[asked] == problems.answer[row] == int(answer)
        numbers = [*values.values(), *map(int, re.findall(r"\d+", question))]
        assert min(numbers) >= 0
        assert max(numbers) <= distribution.max_number


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 250), count=st.integers(0, 60), split=st.sampled_from(SPLITS))
def test_any_range_holds_the_same_problems_as_the_whole(name, start, count, split):
    whole = sample(DISTRIBUTIONS[name], split, 0, 310, seed=1)
    part = sample(DISTRIBUTIONS[name], split, start, count, seed=1)
    assert equal(part, whole[start : start + count])
    assert part.index.tolist() == list(range(start, start + count))


def test_ranges_that_end_inside_a_block_of_the_sampler_join_without_a_seam():
    distribution = DISTRIBUTIONS["general"]
    whole = sample(distribution, "train", 0, 9000, seed=5)
    assert equal(sample(distribution, "train", 4000, 4200, seed=5), whole[4000:8200])


def test_no_problems_have_the_shape_of_some():
    nothing = sample(DISTRIBUTIONS["eq1"], "train", 10, 0, seed=0)
    assert len(nothing) == 0
    assert nothing.numbers.shape == (0, 5)
    assert texts(nothing, DISTRIBUTIONS["eq1"]) == []


def test_problems_are_picked_by_slice_mask_and_index():
    problems = sample(DISTRIBUTIONS["general"], "test", 0, 20, seed=0)
    mask = problems.index % 2 == 0
    assert equal(problems[mask], problems[::2])
    assert equal(problems[np.flatnonzero(mask)], problems[::2])


@pytest.mark.parametrize("name", ["eq1", "general"])
def test_seeds_and_splits_give_different_problems(name):
    samples = {
        (split, seed): sample(DISTRIBUTIONS[name], split, 0, 50, seed=seed).numbers.tobytes()
        for split in SPLITS
        for seed in (0, 1, 2**62)
    }
    assert len(set(samples.values())) == len(samples)


def test_splits_draw_their_layouts_from_streams_of_their_own():
    layouts = [tuple(sample(DISTRIBUTIONS["general"], split, 0, 50, seed=0).layout) for split in SPLITS]
    assert len(set(layouts)) == len(SPLITS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "eq1",
            [
                ("t=78+g, g=23-8, l=65+21; t=", "93"),
                ("v=47-x, x=98-67, u=24+73; v=", "16"),
                ("a=13+s, s=99-79, g=40+18; a=", "33"),
            ],
        ),
        (
            "general",
            [("t=78, g=23, l=8+65; t=", "78"), ("c=59, n=i, i=14; i=", "14"), ("g=2, b=e, e=34+g; g=", "2")],
        ),
    ],
)
def test_the_first_training_problems_of_seed_0_are_for_ever(name, expected):
    # Content keys promise equal artifacts for equal specs: whoever changes these must raise `keys.SCHEMA`.
    problems = sample(DISTRIBUTIONS[name], "train", 0, 3, seed=0)
    assert texts(problems, DISTRIBUTIONS[name]) == expected


def tiny_texts():
    """Every acceptable text of level 3 with numbers 0 and 1 and three names, by plain enumeration."""
    for n, signs, (a, b) in product(product("01", repeat=3), product("+-", repeat=2), permutations("abc", 2)):
        text = f"{a}={n[0]}{signs[0]}{b}, {b}={n[1]}{signs[1]}{n[2]}; {a}="
        values, _ = solve(text)
        if set(values.values()) <= {0, 1}:
            yield text


def test_splits_divide_the_acceptable_texts_and_each_is_uniform_on_its_own():
    distribution = layout_distribution("level-3", max_number=1, names=3)
    owners = Counter()
    for split in SPLITS:
        drawn = texts(sample(distribution, split, 0, 4000, seed=11), distribution)
        counts = Counter(question for question, _ in drawn)
        assert chisquare(list(counts.values())).pvalue > 1e-4
        owners.update(counts.keys())
    expected = set(tiny_texts())
    assert len(expected) == 108
    assert owners == Counter(expected)


def test_splits_have_their_share_of_a_large_set_of_texts():
    distribution = layout_distribution("level-1", max_number=9, names=8)
    sizes = {
        split: len(
            {question for question, _ in texts(sample(distribution, split, 0, 40_000, 0), distribution)}
        )
        for split in SPLITS
    }
    total = sum(sizes.values())
    assert total == 2 * 55 * 8 * 7, "pairs of numbers in range for each sign, and pairs of names"
    for split, residues in {"train": 8, "valid": 1, "test": 2, "probe": 4, "demos": 1}.items():
        share = residues / 16
        assert abs(sizes[split] - share * total) < 4.5 * np.sqrt(total * share * (1 - share))


def test_no_text_is_in_two_splits_across_seeds_ranges_and_distributions():
    specialised = layout_distribution("level-1", max_number=2, names=3)
    sources = [
        (specialised, 0, 400),
        (specialised, 9, 400),
        (layout_distribution("level-1", max_number=3, names=5), 2, 2000),
        (general_distribution(max_number=2, names=3), 1, 8000),
    ]
    found = [
        {split: {question for question, _ in texts(sample(d, split, 0, n, seed), d)} for split in SPLITS}
        for d, seed, n in sources
    ]
    for left, right in product(found, repeat=2):
        assert left["test"] & right["test"], "the promise below would be empty"
        for one, other in permutations(SPLITS, 2):
            assert not left[one] & right[other]


def test_rejection_does_not_favour_short_layouts():
    distribution = DISTRIBUTIONS["general"]
    counts = np.bincount(sample(distribution, "train", 0, 60_000, seed=2).layout, minlength=598)
    assert chisquare(counts, distribution.weights * 60_000).pvalue > 1e-4
    lengths = np.array([len(layout.variables) for layout in distribution.layouts])
    shares = [counts[lengths == length].sum() / 60_000 for length in (1, 2, 3)]
    assert shares == pytest.approx([2 / 42, 8 / 42, 32 / 42], abs=0.01)


@pytest.mark.parametrize(("max_number", "rate"), [(99, 0.129), (9, 0.166)])
def test_equation_1_is_accepted_as_often_as_enumeration_says(max_number, rate):
    layouts = (LAYOUTS["eq1"],)
    keys = streams(stream(4), np.arange(300_000, dtype=np.uint64))
    numbers, operators = draw_numbers(keys, 5, max_number + 1), draw_operators(keys, 3)
    values = Program.of(layouts, Shape.of(layouts)).values(np.zeros(1, dtype=int), numbers, operators)
    accepted = ((values >= 0) & (values <= max_number)).all(axis=0)
    assert accepted.mean() == pytest.approx(rate, abs=0.002)


def tiny_distribution(names, *layouts):
    parsed = tuple(parse_layout(text, text) for text in layouts)
    return Distribution(parsed, np.full(len(parsed), 1 / len(parsed)), max_number=1, names=names)


def failures(distribution):
    """The message of each split that has no problem to offer."""
    messages = {}
    for split in SPLITS:
        try:
            sample(distribution, split, 0, 1, seed=0)
        except SpecError as error:
            messages[split] = str(error)
    return messages


def test_a_split_without_any_text_says_so_instead_of_searching_for_ever():
    messages = failures(tiny_distribution(1, "A=1; A="))
    assert len(messages) >= 3, "two texts can be in two splits at most"
    for split, message in messages.items():
        assert (
            f"no problem for split {split!r} in 102400 candidates with numbers 0 to 1 and 1 names" in message
        )
        assert "raise max_number or names" in message


def test_a_layout_without_any_text_in_a_split_leaves_it_to_the_others():
    short, long = "A=1; A=", "A=1+2, B=3+4, C=5+6; A="
    impossible = failures(tiny_distribution(3, short))
    assert impossible
    mixed = tiny_distribution(3, short, long)
    for split in SPLITS:
        layouts = sample(mixed, split, 0, 50, seed=0).layout
        assert set(layouts.tolist()) == ({1} if split in impossible else {0, 1})


@pytest.mark.parametrize("arguments", [("training", 0, 1), ("train", -1, 1), ("train", 0, -1)])
def test_a_range_or_split_that_does_not_exist_is_refused(arguments):
    with pytest.raises(ValueError, match="cannot sample"):
        sample(DISTRIBUTIONS["eq1"], *arguments, seed=0)
