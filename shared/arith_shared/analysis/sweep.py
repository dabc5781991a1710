"""Runs that differ in their seed only, taken together: means with Student's interval over runs.

The interval says how far the mean of that many seeds would move with other seeds. It does not shrink with more
problems, and takes the runs' values for a sample of a normal distribution: with few seeds a wide and rough one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from arith_shared.analysis.compare import best_by_place
from arith_shared.analysis.intervals import Estimate, mean, welch
from arith_shared.work import Row

#: The field whose values are repetitions; all other swept fields make conditions.
SEED = "seed"


@dataclass(frozen=True, slots=True)
class Condition:
    """Runs of a group that differ in their seed only."""

    #: The swept values but for the seed: ``lm.path=a, probe.controls=2``; `all` where only the seed was swept.
    label: str
    #: Runs with their seeds, in the order of the sweep.
    runs: Mapping[str, int]


def conditions(swept: Mapping[str, Mapping[str, Any]], seeds: Mapping[str, int]) -> list[Condition]:
    """Group runs, given as swept values and seed by run, in the order of first appearance."""
    found: dict[str, dict[str, int]] = {}
    for run, values in swept.items():
        found.setdefault(label(values), {})[run] = seeds[run]
    return [Condition(name, runs) for name, runs in found.items()]


def label(swept: Mapping[str, Any]) -> str:
    """The swept values but for the seed; `all` where nothing else was swept."""
    return words({field: value for field, value in swept.items() if field != SEED}) or "all"


def words(swept: Mapping[str, Any]) -> str:
    """Swept values as they could be typed: ``seed=1, lm.path=a``."""
    return ", ".join(f"{field}={_word(value)}" for field, value in swept.items())


def over_runs(
    tables: Iterable[Sequence[Row]], keys: Sequence[str], value: str, same: Sequence[str] = ()
) -> list[Row]:
    """Return one row per distinct `keys` in the tables (one per run): the mean of column `value` and its interval.

    `runs` is the number of runs with a number there, which the mean is of; columns `same` are taken from the first.
    """
    found: dict[tuple[Any, ...], list[Row]] = {}
    for table in tables:
        for row in table:
            found.setdefault(tuple(row[key] for key in keys), []).append(row)
    rows = []
    for place, group in found.items():
        values = [float(row[value]) for row in group if row[value] is not None]
        numbers = _numbers(mean(values) if values else None, value)
        facts = {name: group[0][name] for name in same}
        rows.append({**dict(zip(keys, place, strict=True)), **facts, **numbers, "runs": len(values)})
    return rows


def compare_conditions(
    tables: Mapping[int, Sequence[Row]], baseline: Mapping[int, Sequence[Row]], families: Sequence[str] = ()
) -> list[Row]:
    """Return the difference of mean r at each place (best layer of each run), given score rows by seed.

    Where both sides have the same seeds, runs of equal seed are paired, else taken as independent (Welch).
    """
    sides = [
        {seed: best_by_place(rows, families) for seed, rows in side.items()} for side in (tables, baseline)
    ]
    common = [places for side in sides for places in side.values()]
    shared = set(common[0]).intersection(*common[1:]) if common else set()
    rows = []
    for place in sorted(shared, key=lambda place: (place[4], place[3], place[1])):
        _, position, token, variable, family = place
        mine, theirs = (
            {
                seed: float(best[place]["value"])
                for seed, best in side.items()
                if best[place]["value"] is not None
            }
            for side in sides
        )
        found, paired = _difference(mine, theirs)
        first = next(iter(sides[0].values()))[place]
        rows.append(
            {
                "metric": first["metric"],
                "variable": variable,
                "family": family,
                "position": position,
                "token": token,
                "value": mean(list(mine.values())).value if mine else None,
                "baseline_value": mean(list(theirs.values())).value if theirs else None,
                **_numbers(found, "difference"),
                "n": len(mine),
                "baseline_n": len(theirs),
                "paired": paired,
                "given": first["given"],
                "status": first["status"],
            }
        )
    return rows


def _difference(mine: Mapping[int, float], theirs: Mapping[int, float]) -> tuple[Estimate | None, bool]:
    if not mine or not theirs:
        return None, False
    if mine.keys() == theirs.keys():
        return mean([mine[seed] - theirs[seed] for seed in mine]), True
    return welch(list(mine.values()), list(theirs.values())), False


def _numbers(found: Estimate | None, name: str) -> Row:
    low, high = (None, None) if found is None or not isfinite(found.low) else (found.low, found.high)
    return {name: found and found.value, "ci_low": low, "ci_high": high}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
