"""Compute threads of a worker: as many as its share of the cores, and asleep while they have nothing to do.

OpenMP's threads spin while they wait, and two processes that spin on the same cores take several times as long as one
after the other. What an OpenMP library reads, it reads once, when it is loaded: a worker says it before anything that
computes is imported, and its pool child, a fresh interpreter, inherits it. However a worker was started, this holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

#: How many threads the handlers of this process may use.
THREADS_VARIABLE = "ARITH_THREADS"
#: Waiting threads sleep, and large blocks of memory are kept for the next step instead of being handed back.
_QUIET = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_MMAP_THRESHOLD_": "268435456",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "TOKENIZERS_PARALLELISM": "false",
}
_CGROUPS = Path("/sys/fs/cgroup")


def prepare(queue: str, threads: int | None) -> int:
    """Set the environment of a worker of `queue` and all that it starts; return its threads.

    `threads` is what ARITH_THREADS asks for. Without it OMP_NUM_THREADS counts, and without that a trainer and an
    extractor take all usable cores, as their stages follow each other, and a prober takes one: there is one per core.
    What the caller has set otherwise stays.
    """
    chosen = threads or _given("OMP_NUM_THREADS") or (1 if queue == "probe" else usable_cores())
    os.environ[THREADS_VARIABLE] = str(chosen)
    for name, value in {**_QUIET, "OMP_NUM_THREADS": str(chosen)}.items():
        os.environ.setdefault(name, value)
    return chosen


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine has in a batch job, a container or under taskset."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [quota for folder in _own_cgroups() if (quota := cpu_quota(folder)) is not None]
    return max(1, min([allowed, *map(int, shares)]))


def cpu_quota(cgroup: Path) -> float | None:
    """Cores' worth of time that a control group (of either version) may use; None where it has no limit."""
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = (
                (cgroup / f"cpu.cfs_{name}_us").read_text("ascii") for name in ("quota", "period")
            )
        # Version 2 writes "max" for no limit, version 1 writes -1.
        return float(quota) / float(period) if quota != "max" and float(quota) > 0 else None
    except (OSError, ValueError):
        return None


def _own_cgroups() -> Iterator[Path]:
    """The groups of this process, and those around them: each limits what is inside it."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = _CGROUPS / controllers if controllers else _CGROUPS
        # A container may see its path from outside, which is nowhere inside it; its own group is then the top.
        own = top / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder == top or top in folder.parents)


def _given(name: str) -> int | None:
    """A count that the caller set; OMP_NUM_THREADS may also be a list, one for each level of nesting."""
    first = os.environ.get(name, "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else None
