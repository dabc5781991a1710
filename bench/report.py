"""What a bench found, as JSON: tables of figures, targets met or missed, and remarks."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.race import OURS, Lap

#: The column that says how near to the limit of the machine something is.
FLOOR = "share of floor"

Verdict = Literal["met", "missed", "not measured"]


@dataclass(slots=True)
class Table:
    """Rows under a heading; numbers as they were measured, rounded only when shown."""

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Target:
    """What was to be reached, and what was found."""

    what: str
    wanted: str
    found: str
    verdict: Verdict
    #: What binds where it was missed, and what was tried.
    why: str = ""


@dataclass(slots=True)
class Report:
    """All that a bench says."""

    title: str
    #: What is done by whom, in a sentence or two.
    about: str
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        """Write the report with `facts` about machine and command."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**asdict(self), **facts}, indent=1) + "\n", encoding="utf-8")


def lap_rows(
    laps: Sequence[Lap], unit: str, threads: int, floor: float | None = None, **case: Any
) -> list[dict[str, Any]]:
    """One row per contestant: units per CPU and wall second, and how often ours goes into it.

    `floor` is the time in seconds per unit below which this machine cannot get.
    """
    ours = next(lap for lap in laps if lap.name == OURS)
    rows = []
    for lap in laps:
        ratios = lap.ratios(ours, "cpu")
        rows.append(
            {
                **case,
                "threads": threads,
                "contestant": lap.name,
                f"{unit}/CPU-s": 1 / lap.cpu,
                f"{unit}/s": 1 / lap.wall,
                "CPU time / ours": statistics.median(ratios),
                "from": min(ratios),
                "to": max(ratios),
                "wall time / ours": statistics.median(lap.ratios(ours, "wall")),
                **({FLOOR: floor / lap.wall} if floor else {}),
            }
        )
    return rows


def ratio(laps: Sequence[Lap], peer: str, clock: str = "cpu") -> float:
    """Median over rounds of a peer's time over ours."""
    by_name = {lap.name: lap for lap in laps}
    return statistics.median(by_name[peer].ratios(by_name[OURS], clock))


def at_least(what: str, wanted: float, found: float, why: str = "", unit: str = "x") -> Target:
    """A target that a larger figure meets; `why` is kept where it was missed."""
    met = found >= wanted
    return Target(
        what, f">= {wanted:,g}{unit}", f"{found:,.3g}{unit}", "met" if met else "missed", "" if met else why
    )


def at_most(what: str, wanted: float, found: float, why: str = "", unit: str = "x") -> Target:
    """A target that a smaller figure meets; `why` is kept where it was missed."""
    met = found <= wanted
    return Target(
        what, f"<= {wanted:,g}{unit}", f"{found:,.4g}{unit}", "met" if met else "missed", "" if met else why
    )


def not_measured(what: str, wanted: str, why: str) -> Target:
    """A target that could not be looked at here."""
    return Target(what, wanted, "-", "not measured", why)
