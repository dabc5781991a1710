"""Shuffled-label controls: reproducible permutations, and scores as near to 0 as chance."""

import numpy as np
import pytest
import torch

from arith_prober.controls import control_scores, shuffled
from arith_prober.probes.ridge import Ridge


def test_controls_hold_the_same_values_in_another_order():
    values = np.random.default_rng(0).integers(0, 100, (200, 2)).astype(float)
    found = shuffled(values, "AB", 3, seed=1)
    assert found.shape == (200, 6)
    for column in range(6):
        np.testing.assert_array_equal(np.sort(found[:, column]), np.sort(values[:, column % 2]))
        assert abs(np.corrcoef(found[:, column], values[:, column % 2])[0, 1]) < 0.3


def test_a_control_follows_from_seed_variable_and_repetition_alone():
    values = np.random.default_rng(1).normal(size=(100, 2))
    first = shuffled(values, "AB", 2, seed=1)
    assert not np.array_equal(shuffled(values, "BA", 2, seed=1), first)
    np.testing.assert_array_equal(shuffled(values[:, 1:], "B", 2, seed=1), first[:, [1, 3]])
    np.testing.assert_array_equal(shuffled(values, "AB", 1, seed=1), first[:, :2])
    assert not np.array_equal(shuffled(values, "AB", 2, seed=2), first)


def test_no_repetitions_give_no_columns_and_no_score():
    values = np.zeros((10, 3))
    assert shuffled(values, "ABC", 0, seed=0).shape == (10, 0)
    assert control_scores(np.zeros((10, 0)), np.zeros((10, 0)), 3) == [None, None, None]


def test_the_score_is_the_signed_mean_over_repetitions_of_each_variable():
    rng = np.random.default_rng(2)
    predictions, truth = rng.normal(size=(2, 50, 4))
    r = [np.corrcoef(p, t)[0, 1] for p, t in zip(predictions.T, truth.T, strict=True)]
    expected = [(r[0] + r[2]) / 2, (r[1] + r[3]) / 2]
    assert control_scores(predictions, truth, 2) == pytest.approx(expected)


def test_a_repetition_without_a_correlation_is_left_out():
    rng = np.random.default_rng(3)
    predictions, truth = rng.normal(size=(2, 50, 2))
    predictions[:, 0] = 1.0
    expected = np.corrcoef(predictions[:, 1], truth[:, 1])[0, 1]
    assert control_scores(predictions, truth, 1) == [pytest.approx(expected)]
    assert control_scores(predictions, truth, 2) == [None, pytest.approx(expected)]


def test_control_scores_spread_like_chance_even_when_states_have_one_direction_only():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(700, 1))
    X = np.hstack([values, 2 * values]).astype(np.float32)
    C_train = shuffled(values[:300], "A", 400, seed=0)
    C_eval = shuffled(values[300:], "A", 400, seed=0)
    predictions = Ridge((1e-4,), torch.device("cpu")).fit_predict(
        X[:300], C_train, X[300:], [0] * 400, lambda: None
    )
    scores = np.array(control_scores(predictions, C_eval, 400), dtype=float)
    assert abs(scores.mean()) < 0.01
    assert scores.std() == pytest.approx(1 / np.sqrt(400), rel=0.15)
