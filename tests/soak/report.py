"""What a soak found, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from soak.people import Found, People
from soak.world import World


@dataclass(frozen=True, slots=True)
class PartReport:
    """One part of a soak."""

    name: str
    elapsed_s: float
    faults: Mapping[str, int]
    found: Found
    #: Deliveries that meant nothing any more, and results of workers that had lost their unit.
    stale_messages_dropped: int
    late_results_refused: int
    processes_started: int

    def facts(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        # `asdict` would make nonsense of a Counter.
        found = {
            name: dict(value) if isinstance(value, Counter) else value
            for name, value in vars(self.found).items()
        }
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"found": found}


def report_of(world: World, found: Found, elapsed_s: float) -> PartReport:
    """Count what the processes have left."""
    return PartReport(
        name=world.part.name,
        elapsed_s=round(elapsed_s, 1),
        faults=dict(sorted((+world.faults).items())),
        found=found,
        stale_messages_dropped=world.count_in_logs("stale message dropped"),
        late_results_refused=world.count_in_logs("finished too late"),
        processes_started=world.processes_started,
    )


def text(part: PartReport) -> str:
    """A part as lines for people."""
    found = part.found
    lines = [
        f"{part.name} work: {part.elapsed_s / 60:.1f} min, {sum(part.faults.values())} faults",
        *(f"  {count:>6}  {name}" for name, count in part.faults.items()),
        f"  runs: {_listed(found.runs)}",
        f"  units done: {found.units_done}; attempts: {_listed(found.attempts)}",
        f"  stale messages dropped: {part.stale_messages_dropped}; late results refused: {part.late_results_refused}",
        f"  processes started: {part.processes_started}; invariants checked {found.checks} times",
        f"  lost: {found.lost}; doubled: {found.doubled}; runs that differ: {len(found.differing)}; "
        f"violations: {len(found.violations)}",
        *(f"  ! {line}" for line in (*found.differing, *found.violations)),
    ]
    return "\n".join(lines)


def progress(people: People, elapsed_s: float, of_s: float) -> str:
    """One line while it goes on."""
    world, found = people.world, people.found
    faults = sum(world.faults.values())
    units = found.units_done + people.units_under_way
    return (
        f"{world.part.name} {elapsed_s:5.0f}/{of_s:.0f} s  faults {faults}  units {units}  "
        f"runs {found.runs['done']} done of {found.runs['submitted']}  broken now: "
        f"{', '.join(sorted(world.broken)) or '-'}"
    )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
