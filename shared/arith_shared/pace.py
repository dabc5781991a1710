"""How fast an attempt goes on: progress per second over the last minute."""

from __future__ import annotations

from collections import deque

#: Seconds over which a rate is taken: long enough to be steady, short enough to follow a change.
WINDOW_S = 60.0
#: Seconds between remembered reports: handlers report much more often than a rate needs.
_STEP_S = 0.5


class Pace:
    """Collects reports; what a checkpoint brought along, and the progress of an earlier phase, are not counted."""

    def __init__(self) -> None:
        """Nothing was reported yet."""
        self._phase: tuple[float, str] | None = None
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, clock: float, done: float, total: float, unit: str) -> None:
        """Take note of `done` of `total` at `clock` seconds; another total or unit begins a new phase."""
        if (total, unit) != self._phase or (self._seen and done < self._seen[-1][1]):
            self._phase = total, unit
            self._seen.clear()
        if len(self._seen) > 1 and clock < self._seen[-2][0] + _STEP_S:
            self._seen.pop()
        self._seen.append((clock, done))
        while len(self._seen) > 2 and self._seen[1][0] < clock - WINDOW_S:
            self._seen.popleft()

    @property
    def per_s(self) -> float:
        """Progress per second; 0 before there are two reports of a phase."""
        if len(self._seen) < 2:
            return 0.0
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - start) if end > start else 0.0
