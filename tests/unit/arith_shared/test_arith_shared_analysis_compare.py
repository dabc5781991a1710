"""Differences between runs: against brute-force resampling, scipy, and the truth in simulations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from arith_shared.analysis.compare import Side, _counts, compare, paired_difference
from arith_shared.analysis.intervals import Estimate, independent_difference, mean, t_quantile, welch, wilson
from arith_shared.analysis.sweep import compare_conditions, conditions, over_runs


@dataclass
class Kept:
    predicted: np.ndarray
    truth: np.ndarray
    index: np.ndarray
    source: dict


def row(value, layer=0, position=0, variable="A", family="ridge", **changes):
    known = value is not None
    return {
        "layer": layer, "position": position, "token": "=", "variable": variable, "family": family,
        "metric": "pearson", "value": value, "ci_low": value - 0.1 if known else None,
        "ci_high": value + 0.05 if known else None, "n_eval": 50, "given": False,
        "status": "ok" if known else "diverged", **changes,
    }  # fmt: skip


def draw(rng, n, noise=(1.0, 1.0), shared=1.0):
    """Truth and two predictions whose errors have a part in common."""
    truth, common = rng.normal(size=(2, n))
    return truth, *(truth + scale * rng.normal(size=n) + shared * common for scale in noise)


def side(name, predicted, truth, index=None, source=None, **changes):
    value = np.corrcoef(predicted, truth)[0, 1]
    index = np.arange(len(truth)) if index is None else index
    kept = Kept(predicted.astype(np.float32), truth.astype(np.float32), index, source or {"seed": 0})
    return Side(name, [row(value, **changes)], (), lambda *_: kept)


def test_the_paired_interval_is_that_of_resampling_problems_one_draw_at_a_time():
    truth, p, q = draw(np.random.default_rng(1), 60)
    differences = []
    for counts in _counts(60, 400).astype(int):
        drawn = np.repeat(np.arange(60), counts)
        differences.append(
            np.corrcoef(p[drawn], truth[drawn])[0, 1] - np.corrcoef(q[drawn], truth[drawn])[0, 1]
        )
    found = paired_difference(p, q, truth, 400)
    assert found.value == pytest.approx(np.corrcoef(p, truth)[0, 1] - np.corrcoef(q, truth)[0, 1])
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, (0.025, 0.975))))
    assert found.n == 60


def test_the_paired_interval_is_that_of_a_bootstrap_with_draws_of_its_own():
    truth, p, q = draw(np.random.default_rng(2), 150)
    rng, differences = np.random.default_rng(9), []
    for _ in range(4000):
        drawn = rng.integers(0, 150, 150)
        differences.append(
            np.corrcoef(p[drawn], truth[drawn])[0, 1] - np.corrcoef(q[drawn], truth[drawn])[0, 1]
        )
    found = paired_difference(p, q, truth, 4000)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, (0.025, 0.975))), abs=0.01)


def test_in_simulations_the_intervals_cover_the_true_difference_and_pairing_makes_them_narrower():
    rng, noise, shared = np.random.default_rng(3), (0.5, 1.2), 1.0
    expected = [1 / np.sqrt(1 + scale**2 + shared**2) for scale in noise]
    true = expected[0] - expected[1]
    covered, widths = {"paired": 0, "independent": 0}, {"paired": 0.0, "independent": 0.0}
    repetitions = 400
    for _ in range(repetitions):
        truth, p, q = draw(rng, 200, noise, shared)
        other_truth, _, other = draw(rng, 200, noise, shared)
        alone = [_alone(values, against) for values, against in ((p, truth), (other, other_truth))]
        for name, found in (
            ("paired", paired_difference(p, q, truth, 300)),
            ("independent", independent_difference(*alone)),
        ):
            covered[name] += found.low <= true <= found.high
            widths[name] += found.high - found.low
    # Three standard errors of a share of 0.95 in 400 repetitions are 0.033.
    assert {name: count / repetitions for name, count in covered.items()} == {
        "paired": pytest.approx(0.95, abs=0.04),
        "independent": pytest.approx(0.95, abs=0.04),
    }
    assert widths["paired"] < 0.8 * widths["independent"]


def _alone(predicted, truth):
    """An r with Fisher's interval."""
    r, n = np.corrcoef(predicted, truth)[0, 1], len(truth)
    low, high = np.tanh(np.arctanh(r) + np.array([-1.96, 1.96]) / np.sqrt(n - 3))
    return Estimate(r, low, high, n)


def test_only_problems_of_both_runs_are_used_and_counted():
    truth, p, q = draw(np.random.default_rng(4), 80)
    mine = side("b", p[:60], truth[:60], np.arange(60))
    theirs = side("a", q[20:], truth[20:], np.arange(20, 80))
    (found,) = compare(mine, theirs)
    expected = paired_difference(
        *(values.astype(np.float32) for values in (p[20:60], q[20:60], truth[20:60])), 1000
    )
    assert (found["n"], found["baseline_n"], found["paired"]) == (40, 40, True)
    assert found["difference"] == pytest.approx(expected.value)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((expected.low, expected.high))
    assert found["value"] - found["baseline_value"] == pytest.approx(expected.value)


@pytest.mark.parametrize(
    "other",
    [
        {"source": {"seed": 1}},
        {"index": np.arange(100, 180)},
    ],
    ids=["drawn from another source", "no problem in common"],
)
def test_other_problems_are_compared_as_independent(other):
    truth, p, q = draw(np.random.default_rng(5), 80)
    (found,) = compare(side("b", p, truth), side("a", q, truth, **other))
    mine, theirs = found["value"], found["baseline_value"]
    margin = np.hypot(0.1, 0.05)
    assert not found["paired"]
    assert found["difference"] == pytest.approx(mine - theirs)
    assert found["ci_low"] == pytest.approx(mine - theirs - margin)
    assert found["ci_high"] == pytest.approx(mine - theirs + margin)


def test_equal_runs_differ_by_exactly_nothing():
    truth, p, _ = draw(np.random.default_rng(6), 50)
    (found,) = compare(side("b", p, truth), side("a", p, truth))
    assert (found["difference"], found["ci_low"], found["ci_high"]) == (0.0, 0.0, 0.0)


def test_each_run_is_read_at_its_own_best_layer_or_at_equal_layers():
    mine = Side("b", [row(0.2, layer=0), row(0.8, layer=1)])
    theirs = Side("a", [row(0.5, layer=0), row(0.4, layer=1)])
    (best,) = compare(mine, theirs)
    assert (best["layer"], best["baseline_layer"], best["difference"]) == (1, 0, pytest.approx(0.3))
    each = compare(mine, theirs, layers=True)
    assert [(one["layer"], one["difference"]) for one in each] == [
        (0, pytest.approx(-0.3)),
        (1, pytest.approx(0.4)),
    ]


def test_a_cell_without_a_correlation_has_no_difference_and_says_why():
    (found,) = compare(Side("b", [row(None)]), Side("a", [row(0.5)]))
    assert (found["difference"], found["ci_low"], found["status"]) == (None, None, "diverged")


def test_without_intervals_there_is_a_difference_and_no_interval():
    bare = {"ci_low": None, "ci_high": None}
    (found,) = compare(Side("b", [row(0.7, **bare)]), Side("a", [row(0.5, **bare)]))
    assert (found["difference"], found["ci_low"], found["ci_high"]) == (pytest.approx(0.2), None, None)


def test_the_untrained_lm_is_compared_only_when_it_is_named():
    sides = [Side(name, [row(0.5), row(0.3, family="ridge@untrained")]) for name in "ba"]
    assert {one["family"] for one in compare(*sides)} == {"ridge"}
    assert {one["family"] for one in compare(*sides, families=["ridge@untrained"])} == {"ridge@untrained"}


def test_the_difference_of_accuracies_has_newcombes_interval():
    mine, theirs = wilson(56, 70), wilson(48, 80)

    def summary(found):
        bounds = {"ci_low": found.low, "ci_high": found.high, "n": found.n}
        return [{"name": "accuracy", "value": found.value, **bounds}]

    accuracy, _ = compare(Side("b", [row(0.5)], summary(mine)), Side("a", [row(0.5)], summary(theirs)))
    # Newcombe 1998, table II, example a, method 10: 56/70 - 48/80 = 0.2000 (0.0524, 0.3339).
    assert accuracy["metric"] == "accuracy"
    assert [accuracy[name] for name in ("difference", "ci_low", "ci_high")] == pytest.approx(
        [0.2, 0.0524, 0.3339], abs=5e-5
    )


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 30, 199])
def test_students_quantile_is_scipys(freedom):
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-10)


def test_the_interval_of_a_mean_over_runs_is_scipys():
    values = [0.91, 0.95, 0.89, 0.97]
    found = mean(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high, found.n) == (*map(pytest.approx, expected), 4)
    assert mean([0.5]).high == np.inf


def test_welchs_interval_holds_scipys_and_is_hardly_wider():
    mine, theirs = [0.91, 0.95, 0.89, 0.97], [0.7, 0.9, 0.5]
    found = welch(mine, theirs)
    low, high = stats.ttest_ind(mine, theirs, equal_var=False).confidence_interval(0.95)
    assert found.low <= low < high <= found.high
    assert found.high - found.low < 1.5 * (high - low)


def test_conditions_are_runs_that_differ_in_their_seed_only():
    swept = {
        "r1": {"seed": 1, "lm.path": "a"}, "r2": {"seed": 1, "lm.path": "b"},
        "r3": {"seed": 2, "lm.path": "a"}, "r4": {"seed": 2, "lm.path": "b"},
    }  # fmt: skip
    found = conditions(swept, {"r1": 1, "r2": 1, "r3": 2, "r4": 2})
    assert [(one.label, dict(one.runs)) for one in found] == [
        ("lm.path=a", {"r1": 1, "r3": 2}),
        ("lm.path=b", {"r2": 1, "r4": 2}),
    ]
    assert [one.label for one in conditions({"r1": {"seed": 1}}, {"r1": 1})] == ["all"]


def test_runs_without_a_number_are_not_counted_in_the_mean_of_the_others():
    tables = [[row(0.4)], [row(0.6)], [row(None)]]
    (found,) = over_runs(tables, ("position", "variable"), "value", same=("token",))
    assert (found["value"], found["runs"], found["token"]) == (pytest.approx(0.5), 2, "=")
    margin = stats.t.ppf(0.975, 1) * np.std([0.4, 0.6], ddof=1) / np.sqrt(2)
    assert found["ci_high"] == pytest.approx(0.5 + margin)
    (alone,) = over_runs(tables[:1], ("position",), "value")
    assert (alone["ci_low"], alone["ci_high"], alone["runs"]) == (None, None, 1)


def test_runs_of_equal_seed_are_paired_and_others_are_not():
    base, same = (
        {1: [row(0.3)], 2: [row(0.5)], 3: [row(0.6)]},
        {1: [row(0.4)], 2: [row(0.7)], 3: [row(0.7)]},
    )
    (paired,) = compare_conditions(same, base)
    expected = stats.ttest_rel([0.4, 0.7, 0.7], [0.3, 0.5, 0.6]).confidence_interval(0.95)
    assert paired["paired"]
    assert (paired["ci_low"], paired["ci_high"]) == (*map(pytest.approx, expected),)
    (apart,) = compare_conditions({seed + 3: rows for seed, rows in same.items()}, base)
    assert not apart["paired"]
    assert apart["difference"] == pytest.approx(paired["difference"])
    assert apart["ci_high"] - apart["ci_low"] > paired["ci_high"] - paired["ci_low"]
