"""A verdict is what greedy decoding would have come to."""

from __future__ import annotations

import itertools

import pytest
import torch

from arith_extractor.verdict import solved


def test_only_a_problem_with_every_output_token_right_is_solved():
    gold = (4, 5, 1)
    attempts = list(itertools.product((4, 5, 1), repeat=3))
    ids = torch.tensor([(7, 8, *gold)] * len(attempts))
    verdict = solved(torch.tensor(attempts), ids, question_length=2)
    assert verdict.tolist() == [attempt == gold for attempt in attempts]


def test_a_prediction_of_another_length_is_refused_rather_than_broadcast():
    with pytest.raises(ValueError, match=r"for each of \[2, 2\], found \[2, 1\]"):
        solved(torch.ones(2, 1), torch.ones(2, 4), question_length=2)
