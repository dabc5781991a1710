"""Wilson's interval against SciPy."""

import pytest
from scipy import stats

from arith_shared.analysis.intervals import wilson


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 20), (1976, 2000), (1, 10**6)]
)
def test_the_interval_of_a_proportion_equals_scipys(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    found = wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (found.value, found.n) == (successes / n, n)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_an_impossible_count_is_refused_by_its_numbers(successes, n):
    with pytest.raises(ValueError, match=f"found {successes} of {n}"):
        wilson(successes, n)
