"""The learning rate is that of PyTorch's schedulers, without their state."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from arith_trainer.schedule import learning_rate

PEAK = 3e-5


def rates_of(scheduler, optimizer, count):
    """The first `count` rates that a PyTorch scheduler sets."""
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("final", [0.0, 0.02, 1.0])
@pytest.mark.parametrize(("steps", "warmup"), [(400, 50), (60, 2), (51, 50)])
def test_it_is_a_linear_warm_up_and_then_a_cosine(steps, warmup, final):
    def optimizer():
        return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)

    rising, falling = optimizer(), optimizer()
    warm = LinearLR(rising, start_factor=1 / warmup, end_factor=1.0, total_iters=warmup - 1)
    cosine = CosineAnnealingLR(falling, T_max=steps - warmup, eta_min=final * PEAK)
    # The last step of the warm-up is the first point of the cosine: both are the peak.
    expected = rates_of(warm, rising, warmup)[:-1] + rates_of(cosine, falling, steps - warmup + 1)
    found = [
        learning_rate(step, steps=steps, warmup=warmup, peak=PEAK, final_fraction=final)
        for step in range(steps)
    ]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_every_step_but_the_last_learns_and_none_beyond_the_peak():
    rates = [learning_rate(step, steps=100, warmup=10, peak=PEAK) for step in range(100)]
    assert rates.index(max(rates)) == 9
    assert max(rates) == PEAK
    assert min(rates[:-1]) > 0.0
    assert rates[-1] == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (5, 5), (5, 500), (5, 0)])
def test_any_number_of_steps_has_a_rate_for_each(steps, warmup):
    rates = [
        learning_rate(step, steps=steps, warmup=warmup, peak=1.0, final_fraction=0.1) for step in range(steps)
    ]
    assert all(0 < rate <= 1 for rate in rates)
    if steps > warmup:
        assert rates[-1] == pytest.approx(0.1)
