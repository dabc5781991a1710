"""Correlations and intervals against SciPy and against loops."""

import numpy as np
import pytest
from scipy import stats

from arith_prober.metrics import Correlation, bootstrap_counts, pearson


def correlated(rng, n, rho, cells=1):
    truth = rng.normal(size=(n, cells))
    return rho * truth + np.sqrt(1 - rho**2) * rng.normal(size=(n, cells)), truth


def test_values_equal_scipy():
    predictions, truth = correlated(np.random.default_rng(0), 200, 0.6, cells=5)
    found = [correlation.value for correlation in pearson(predictions * 7 + 50, truth)]
    assert found == pytest.approx(
        [stats.pearsonr(*pair)[0] for pair in zip(predictions.T, truth.T, strict=True)]
    )


def test_intervals_equal_a_loop_over_the_same_resamples():
    predictions, truth = correlated(np.random.default_rng(1), 40, 0.5, cells=3)
    found = pearson(predictions, truth, resamples=300, seed=9)
    for correlation, p, t in zip(found, predictions.T, truth.T, strict=True):
        values = []
        for counts in bootstrap_counts(40, 300, 9):
            drawn = np.repeat(np.arange(40), counts.astype(int))
            values.append(np.corrcoef(p[drawn], t[drawn])[0, 1])
        assert (correlation.low, correlation.high) == pytest.approx(
            tuple(np.quantile(values, [0.025, 0.975]))
        )


@pytest.mark.parametrize("rho", [0.0, 0.7, 0.99])
def test_intervals_agree_with_scipys_percentile_bootstrap(rho):
    predictions, truth = correlated(np.random.default_rng(2), 500, rho)
    (found,) = pearson(predictions, truth, resamples=4000, seed=1)
    expected = stats.bootstrap(
        (predictions[:, 0], truth[:, 0]),
        lambda p, t, axis: stats.pearsonr(p, t, axis=axis)[0],
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.06 * width)
    assert found.high == pytest.approx(expected.high, abs=0.06 * width)


def test_about_95_of_100_intervals_cover_the_true_correlation():
    predictions, truth = correlated(np.random.default_rng(4), 300, 0.5, cells=400)
    covered = [found.low <= 0.5 <= found.high for found in pearson(predictions, truth, resamples=500)]
    assert 0.91 <= np.mean(covered) <= 0.98


def test_each_resample_draws_as_many_problems_as_there_are():
    counts = bootstrap_counts(50, 200, 0)
    assert (counts.sum(1) == 50).all()
    assert counts.mean(0) == pytest.approx(1, abs=0.4)
    # A count of a multinomial draw has variance 1 - 1/n.
    assert counts.var() == pytest.approx(0.98, abs=0.05)


def test_a_cell_has_the_same_interval_alone_and_in_company():
    predictions, truth = correlated(np.random.default_rng(5), 100, 0.3, cells=4)
    together = pearson(predictions, truth, resamples=100)
    (alone,) = pearson(predictions[:, 2:3], truth[:, 2:3], resamples=100)
    assert (alone.low, alone.high) == pytest.approx((together[2].low, together[2].high))


def test_another_seed_gives_another_interval():
    predictions, truth = correlated(np.random.default_rng(6), 100, 0.3)
    assert pearson(predictions, truth, 100, seed=1) != pearson(predictions, truth, 100, seed=2)


def test_diverged_and_constant_cells_have_no_number_and_spoil_no_neighbour():
    predictions, truth = correlated(np.random.default_rng(7), 100, 0.8, cells=4)
    (expected,) = pearson(predictions[:, 3:], truth[:, 3:], resamples=50)
    predictions[:, 0] = np.nan
    predictions[:, 1] = 41.3
    truth[:, 2] = 5.0
    found = pearson(predictions, truth, resamples=50)
    assert found[:3] == [Correlation("diverged"), Correlation("constant"), Correlation("constant")]
    assert (found[3].status, found[3].value) == ("ok", pytest.approx(expected.value))


def test_the_rounding_of_float32_is_not_taken_for_variation():
    rng = np.random.default_rng(8)
    predictions = np.float32(49.7) * (1 + np.float32(5e-8) * rng.choice([-1, 1], size=(100, 1)))
    assert pearson(predictions.astype(np.float64), rng.normal(size=(100, 1))) == [Correlation("constant")]


def test_a_weak_but_real_variation_has_a_correlation():
    truth = np.random.default_rng(9).normal(size=(100, 1))
    (found,) = pearson(50 + 1e-4 * truth, truth)
    assert found.value == pytest.approx(1)


def test_large_predictions_of_a_fit_that_nearly_diverged_keep_their_correlation():
    predictions, truth = correlated(np.random.default_rng(10), 100, 0.8)
    (expected,), (found,) = pearson(predictions, truth, 50), pearson(predictions * 1e37, truth, 50)
    assert (found.value, found.low) == pytest.approx((expected.value, expected.low))


def test_without_resamples_there_is_a_value_and_no_interval():
    (found,) = pearson(*correlated(np.random.default_rng(11), 50, 0.5))
    assert found.value is not None
    assert (found.low, found.high) == (None, None)


def test_resamples_in_which_nothing_varies_are_left_out():
    truth = np.array([[0.0], [0.0], [1.0]])
    (found,) = pearson(truth * 2, truth, resamples=200)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))


def test_numbers_are_plain_floats_ready_for_json():
    (found,) = pearson(*correlated(np.random.default_rng(12), 50, 0.5), resamples=20)
    assert [type(number) for number in (found.value, found.low, found.high)] == [float] * 3
