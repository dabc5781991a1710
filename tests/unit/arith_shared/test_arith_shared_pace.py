"""The rate of an attempt: over the last minute, of its own work only."""

from itertools import pairwise

import pytest

from arith_shared.pace import WINDOW_S, Pace


def test_there_is_no_rate_before_two_reports():
    pace = Pace()
    assert pace.per_s == 0.0
    pace.add(10.0, 5.0, 100.0, "steps")
    assert pace.per_s == 0.0


def test_steps_that_a_checkpoint_brought_along_do_not_count():
    pace = Pace()
    pace.add(10.0, 2_000.0, 12_500.0, "steps")
    pace.add(14.0, 2_012.0, 12_500.0, "steps")
    assert pace.per_s == 3.0


@pytest.mark.parametrize("then", [(12_500.0, "steps"), (1.0, "problems")], ids=["total", "unit"])
def test_another_total_or_unit_begins_anew(then):
    pace = Pace()
    pace.add(0.0, 0.0, 1.0, "steps")
    pace.add(8.0, 1.0, 1.0, "steps")
    pace.add(9.0, 0.0, *then)
    assert pace.per_s == 0.0
    pace.add(11.0, 6.0, *then)
    assert pace.per_s == 3.0


def test_the_rate_follows_a_change_within_a_minute_however_often_is_reported():
    pace, clock, done = Pace(), 0.0, 0.0
    for speed in (10.0, 2.0):
        for _ in range(round(2 * WINDOW_S / 0.01)):
            clock, done = clock + 0.01, done + speed * 0.01
            pace.add(clock, done, 1e6, "problems")
        assert pace.per_s == pytest.approx(speed)
    clocks = [at for at, _ in pace._seen]
    assert len(clocks) < 2 * WINDOW_S + 5
    assert all(before < after for before, after in pairwise(clocks))


def test_reports_at_the_same_moment_have_no_rate():
    pace = Pace()
    pace.add(1.0, 0.0, 2.0, "probes")
    pace.add(1.0, 1.0, 2.0, "probes")
    assert pace.per_s == 0.0
