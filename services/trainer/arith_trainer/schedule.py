"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math


def learning_rate(
    step: int, *, steps: int, warmup: int, peak: float, final_fraction: float = 0.0, fall_from: int = 0
) -> float:
    """Rate of step number `step` (from 0) of `steps`: linear warm-up, then a cosine (table 2).

    The first step already learns; the last one reaches `final_fraction` of the peak. Between warm-up and step
    `fall_from` the rate stays at the peak: lessons, of which nobody knows beforehand when they end.
    """
    if step < warmup:
        return peak * ((step + 1) / warmup)
    if step < fall_from:
        return peak
    start = max(warmup, fall_from)
    done = (step - start + 1) / (steps - start)
    return peak * (final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * done)))
