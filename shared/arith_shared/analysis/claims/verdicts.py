"""From a measured interval to a verdict: pass where all of it is allowed, fail where none of it is.

An interval that lies on both sides of the border, or is not known, is inconclusive: the data do not say.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, inf, isfinite, nextafter
from typing import Literal

Verdict = Literal["pass", "fail", "inconclusive"]

#: The smallest number above 0: "greater than 0" as a closed range.
POSITIVE = nextafter(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """An estimate with its 95 % interval; bounds are None where none was computed, infinite where there is none."""

    value: float
    low: float | None
    high: float | None

    def minus(self, other: Measured) -> Measured:
        """The difference of two estimates with an interval from both.

        Each bound is as far from the difference as the root of the sum of the squared distances of the two bounds
        that it depends on (Zou and Donner 2008). For estimates from the same problems, which vary together, that
        is wider than need be.
        """
        difference = self.value - other.value
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return Measured(difference, None, None)
        down = hypot(self.value - self.low, other.high - other.value)
        up = hypot(self.high - self.value, other.value - other.low)
        return Measured(difference, difference - down, difference + up)

    def __str__(self) -> str:
        """``.991 [.985, .995]``."""
        if self.low is None or self.high is None:
            return f"{number(self.value)} (no interval)"
        return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"


@dataclass(frozen=True, slots=True)
class Range:
    """The closed range in which the paper's statement holds."""

    low: float = -inf
    high: float = inf

    def verdict(self, measured: Measured) -> Verdict:
        """Whether the interval lies inside, outside, or on the border."""
        if measured.low is None or measured.high is None:
            return "inconclusive"
        if self.low <= measured.low and measured.high <= self.high:
            return "pass"
        return "fail" if measured.high < self.low or measured.low > self.high else "inconclusive"


def number(value: float) -> str:
    """Three decimals, fewer where they are zeros; `never` for a position that is not reached."""
    return f"{value:.3f}".rstrip("0").rstrip(".") if isfinite(value) else "never"
