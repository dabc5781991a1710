"""An estimate with its 95 % interval, and the interval of a proportion."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

#: The 97.5 % quantile of the normal distribution: 95 % intervals throughout.
Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, the bounds of its 95 % interval, and how many problems it rests on."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int) -> Estimate:
    """Return the proportion `successes` / `n` with Wilson's score interval (1927).

    Unlike the textbook interval it stays within 0 and 1 and keeps a width at 0 and at n successes, where
    accuracies often are. Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"expected 0 <= successes <= n and n > 0, found {successes} of {n}")
    share, squared = successes / n, Z * Z
    centre = share + squared / (2 * n)
    margin = Z * sqrt(share * (1 - share) / n + squared / (4 * n * n))
    scale = 1 + squared / n
    return Estimate(share, max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale), n)
