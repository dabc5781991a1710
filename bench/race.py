"""Contestants that take turns: CPU and wall seconds of each, round by round, and ratios within rounds.

On a busy machine a wall time says little and even a CPU second is worth less when caches are shared; a ratio
of neighbours in time is what stays. The order is turned by one from round to round, so that nobody always follows
the same neighbour.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from threadpoolctl import threadpool_limits

#: The contestant that the others are compared with.
OURS = "arithctl"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one turn."""

    cpu: float
    wall: float


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do the work."""

    name: str
    #: Does `work` units; what it returns is ignored, unless it is a Timing: it then has timed its own core.
    run: Callable[[], object]
    #: Units of work in a turn, in the unit of the race.
    work: float


@dataclass(slots=True)
class Lap:
    """All turns of one contestant."""

    name: str
    work: float
    turns: list[Timing] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        """CPU seconds per unit of work, the median."""
        return statistics.median(turn.cpu for turn in self.turns) / self.work

    @property
    def wall(self) -> float:
        """Wall seconds per unit of work, the median."""
        return statistics.median(turn.wall for turn in self.turns) / self.work

    def ratios(self, ours: Lap, clock: str) -> list[float]:
        """How many times as long as `ours` per unit of work, in each round; `clock` is cpu or wall."""
        return [
            (getattr(mine, clock) / self.work) / (getattr(theirs, clock) / ours.work)
            for mine, theirs in zip(self.turns, ours.turns, strict=True)
        ]


def race(contestants: Sequence[Contestant], rounds: int, threads: int) -> list[Lap]:
    """Warm each one up with a turn that does not count, then let them take turns."""
    laps = [Lap(contestant.name, contestant.work) for contestant in contestants]
    with compute_threads(threads):
        for contestant in contestants:
            _turn(contestant)
        for number in range(rounds):
            for place in range(len(contestants)):
                which = (place + number) % len(contestants)
                laps[which].turns.append(_turn(contestants[which]))
            sys.stdout.write(f"  {threads} thread(s), round {number + 1}/{rounds}\n")
            sys.stdout.flush()
    return laps


def _turn(contestant: Contestant) -> Timing:
    gc.collect()
    wall, cpu = time.perf_counter(), cpu_seconds()
    own = contestant.run()
    found = Timing(cpu_seconds() - cpu, time.perf_counter() - wall)
    return own if isinstance(own, Timing) else found


def cpu_seconds() -> float:
    """CPU seconds of this process, all its threads, and of children that have ended."""
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """`count` threads for torch, and for the BLAS and OpenMP of everything else in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
