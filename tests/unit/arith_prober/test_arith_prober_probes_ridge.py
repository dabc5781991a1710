"""Ridge in closed form against scikit-learn and against cross-validation by brute force."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeCV

from arith_prober.probes.ridge import Ridge, solve

CPU = torch.device("cpu")
PENALTIES = tuple(10.0**k for k in range(-4, 5))


def fit_predict(penalties, X_train, Y_train, X_eval):
    return Ridge(penalties, CPU).fit_predict(X_train, Y_train, X_eval, [0] * Y_train.shape[1], lambda: None)


def absolute(penalties, X):
    """Scikit-learn's penalties: on sums instead of means, not relative to anything."""
    X = X.astype(np.float64)
    return [penalty * np.trace(np.cov(X.T, bias=True)) / X.shape[1] * len(X) for penalty in penalties]


@pytest.fixture
def data():
    """Correlated features of unequal scale and with an offset; targets from nearly exact to pure noise."""
    rng = np.random.default_rng(7)
    X = (rng.normal(size=(500, 24)) @ rng.normal(size=(24, 24)) * np.geomspace(0.1, 3, 24) + 5).astype(
        np.float32
    )
    signal = X @ rng.normal(size=(24, 1))
    noise = rng.normal(size=(500, 4)) * signal.std()
    return X, signal * [1, 1, 1, 0] + noise * [0.01, 1, 10, 1] + 40


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0, 100.0])
def test_predictions_equal_scikit_learn_at_a_fixed_penalty(data, penalty):
    X, Y = data
    (alpha,) = absolute([penalty], X[:300])
    expected = (
        SklearnRidge(alpha).fit(X[:300].astype(np.float64), Y[:300]).predict(X[300:].astype(np.float64))
    )
    np.testing.assert_allclose(fit_predict((penalty,), X[:300], Y[:300], X[300:]), expected, rtol=1e-8)


def test_the_penalty_chosen_for_each_target_is_the_one_of_ridgecv(data):
    X, Y = data
    model = RidgeCV(absolute(PENALTIES, X[:300]), alpha_per_target=True)
    expected = model.fit(X[:300].astype(np.float64), Y[:300]).predict(X[300:].astype(np.float64))
    assert len(set(model.alpha_)) >= 3
    np.testing.assert_allclose(fit_predict(PENALTIES, X[:300], Y[:300], X[300:]), expected, rtol=1e-8)


def test_the_penalty_minimises_the_criterion_computed_from_explicit_hat_matrices(data):
    X, Y = data
    X, Y, n = X[:60].astype(np.float64), Y[:60], 60
    # Candidates so close that a wrong count of degrees of freedom picks another one.
    penalties = tuple(np.geomspace(1e-4, 1e4, 2000))
    augmented = np.hstack([np.ones((n, 1)), X - X.mean(0)])
    best, chosen = np.full(4, np.inf), np.zeros(4)
    for alpha in absolute(penalties, X):
        ridge = alpha * np.eye(25)
        ridge[0, 0] = 0
        hat = augmented @ np.linalg.inv(augmented.T @ augmented + ridge) @ augmented.T
        criterion = ((Y - hat @ Y) ** 2).mean(0) / (1 - np.trace(hat) / n) ** 2
        chosen, best = np.where(criterion < best, alpha, chosen), np.minimum(criterion, best)
    features, targets = torch.tensor(X - X.mean(0)), torch.tensor(Y - Y.mean(0))
    found = solve(features, targets, targets.square().mean(0), n, penalties).numpy()
    for column in range(4):
        expected = SklearnRidge(chosen[column]).fit(X, Y[:, column]).coef_
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-6, atol=1e-9)


def test_a_target_is_predicted_the_same_alone_and_in_company(data):
    X, Y = data
    together = fit_predict(PENALTIES, X[:300], Y[:300], X[300:])
    for column in range(4):
        alone = fit_predict(PENALTIES, X[:300], Y[:300, [column]], X[300:])
        np.testing.assert_allclose(alone[:, 0], together[:, column], rtol=1e-9)


def test_the_scale_and_offset_of_the_states_do_not_matter(data):
    X, Y = data
    expected = fit_predict(PENALTIES, X[:300], Y[:300], X[300:])
    moved = X.astype(np.float64) * 64 + 128
    np.testing.assert_allclose(
        fit_predict(PENALTIES, moved[:300].astype(np.float32), Y[:300], moved[300:].astype(np.float32)),
        expected,
        rtol=1e-3,
    )


def test_a_few_distinct_tokens_are_predicted_by_their_means():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 5, 400)
    X = rng.normal(size=(5, 64)).astype(np.float32)[tokens]
    y = np.array([3.0, 70.0, 20.0, 55.0, 9.0])[tokens] + rng.normal(size=400)
    found = fit_predict(PENALTIES, X[:300], y[:300, None], X[300:])[:, 0]
    means = np.array([y[:300][tokens[:300] == token].mean() for token in range(5)])
    np.testing.assert_allclose(found, means[tokens[300:]], atol=0.1)


def test_constant_features_change_nothing(data):
    X, Y = data
    padded = np.hstack([X, np.full((500, 24), 0.1, np.float32)])
    # The mean eigenvalue halves with twice the features, so the relative penalty doubles.
    doubled = tuple(2 * penalty for penalty in PENALTIES)
    np.testing.assert_allclose(
        fit_predict(doubled, padded[:300], Y[:300], padded[300:]),
        fit_predict(PENALTIES, X[:300], Y[:300], X[300:]),
        rtol=1e-9,
    )


def test_identical_states_give_the_mean_of_the_targets(data):
    _, Y = data
    X = np.full((500, 8), 0.1, np.float32)
    found = fit_predict(PENALTIES, X[:300], Y[:300], X[300:])
    assert (found == found[0]).all()
    np.testing.assert_allclose(found[0], Y[:300].mean(0))


def test_fewer_problems_than_features_are_enough(data):
    X, Y = data
    wide = np.hstack([X, X * X, np.sin(X)])
    found = fit_predict(PENALTIES, wide[:40], Y[:40], wide[40:])
    assert np.corrcoef(found[:, 0], Y[40:, 0])[0, 1] > 0.9
