"""Random words and what is decoded from them."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from arith_shared.problems.candidates import draw_layouts, draw_names, draw_numbers, draw_operators
from arith_shared.problems.counters import advanced, mix, stream, streams, word

KEYS = streams(stream(7), np.arange(50_000, dtype=np.uint64))


def test_words_are_those_of_splitmix64():
    # The published first outputs for seed 1234567.
    key = np.array([1234567], dtype=np.uint64)
    words = [int(word(key, counter)[0]) for counter in range(5)]
    assert words == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_mixing_leaves_its_argument_alone():
    words = np.arange(5, dtype=np.uint64)
    mix(words)
    assert np.array_equal(words, np.arange(5))


def test_moving_a_key_on_is_skipping_words():
    moved = advanced(KEYS[:5], np.full(5, 12, dtype=np.uint64))
    assert np.array_equal(word(moved, 3), word(KEYS[:5], 15))


def test_a_stream_is_named_by_its_seed_and_its_whole_path():
    paths = [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (2**63 - 1,)]
    assert len({int(stream(*path)[0]) for path in paths}) == len(paths)


@pytest.mark.parametrize("radix", [2, 10, 100, 1000])
def test_every_number_slot_is_uniform_and_independent_of_its_neighbour(radix):
    numbers = draw_numbers(KEYS, 6, radix)
    for row in numbers:
        assert chisquare(np.bincount(row, minlength=radix)).pvalue > 1e-4
    correlations = np.corrcoef(np.concatenate((numbers, draw_operators(KEYS, 3)))) - np.eye(9)
    assert np.abs(correlations).max() < 5 / np.sqrt(len(KEYS))


def test_operators_are_fair_and_independent():
    operators = draw_operators(KEYS, 3)
    assert chisquare(list(Counter(map(tuple, operators.T)).values())).pvalue > 1e-4
    assert set(np.unique(operators)) == {-1, 1}


def test_names_are_every_ordered_choice_equally_often():
    counts = Counter(map(tuple, draw_names(KEYS, 3, 5).T.tolist()))
    assert counts.keys() == set(permutations(range(5), 3))
    assert chisquare(list(counts.values())).pvalue > 1e-4


def test_all_letters_can_be_used_up():
    names = draw_names(KEYS[:100], 3, 3)
    assert np.array_equal(np.sort(names, axis=0), np.tile([[0], [1], [2]], 100))


def test_layouts_come_with_their_weights():
    weights = np.array([0.5, 0.3, 0.2])
    counts = np.bincount(draw_layouts(KEYS, 0, np.cumsum(weights)), minlength=3)
    assert chisquare(counts, weights * len(KEYS)).pvalue > 1e-4
