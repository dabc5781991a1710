"""Lessons: parts of the general distribution, with its vocabulary, and with the shares that they promise."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import numpy as np
import pytest

from arith_shared.problems import (
    Lesson,
    general_distribution,
    layout_distribution,
    lesson_distribution,
    sample,
    texts,
)
from arith_shared.problems.lessons import depth

GENERAL = general_distribution(max_number=9, names=5)


def by_hand(text: str) -> dict[str, int]:
    """The depth of each variable of a text, found by substituting until nothing is left to substitute."""
    sides = dict(part.split("=") for part in text.partition(";")[0].split(", "))
    found: dict[str, int] = {}
    while len(found) < len(sides):
        for name, side in sides.items():
            needed = [sign for sign in side if sign in sides]
            if all(other in found for other in needed):
                found[name] = 1 + max((found[other] for other in needed), default=0)
    return found


def test_depths_are_those_of_substitution():
    problems = sample(GENERAL, "train", 0, 500, 0)
    for (question, _), layout_number, names in zip(
        texts(problems, GENERAL), problems.layout, problems.names, strict=True
    ):
        layout, expected = GENERAL.layouts[layout_number], by_hand(question)
        for variable in range(len(layout.variables)):
            assert depth(layout, variable) == expected["abcdefghijklmnopqrstuvwxyz"[names[variable]]]


@pytest.mark.parametrize("lesson", get_args(Lesson))
def test_a_lesson_has_the_vocabulary_of_the_whole_and_shares_that_sum_to_one(lesson):
    part = lesson_distribution(GENERAL, lesson)
    assert part.vocabulary == GENERAL.vocabulary
    assert part.weights.sum() == pytest.approx(1.0)
    assert set(part.layouts) <= set(GENERAL.layouts)


def test_numbers_has_no_signs_and_sums_no_variable_on_the_right():
    for lesson, forbidden in (("numbers", "+-"), ("sums", "abcde")):
        part = lesson_distribution(GENERAL, lesson)
        for question, _ in texts(sample(part, "train", 0, 500, 0), part):
            sides = [side.split("=")[1] for side in question.partition(";")[0].split(", ")]
            assert not set("".join(sides)) & set(forbidden), question


def test_deep_has_every_layout_and_deeper_ones_four_to_eight_times_as_often_as_shallow_ones():
    part = lesson_distribution(GENERAL, "deep")
    assert part.layouts == GENERAL.layouts
    ratio = part.weights / GENERAL.weights
    deepest = np.array(
        [max(depth(layout, k) for k in range(len(layout.variables))) for layout in part.layouts]
    )
    ones, twos, threes = (ratio[deepest == k] for k in (1, 2, 3))
    for times, found in ((1, ones), (4, twos), (8, threes)):
        np.testing.assert_allclose(found / ones[0], times)
    drawn = Counter(deepest[sample(part, "train", 0, 5_000, 0).layout].tolist())
    assert drawn[3] / 5_000 == pytest.approx(part.weights[deepest == 3].sum(), abs=0.03)


def test_a_lesson_that_has_no_problem_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"lesson numbers: no layout of the training set fits; leave it out"):
        lesson_distribution(layout_distribution("eq1", max_number=9, names=5), "numbers")
