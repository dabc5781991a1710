"""What `compare` compares: runs by their problems, or groups by their seeds; the rows, and the words beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from arith_shared.analysis.compare import Predicted, Reader, Side, compare
from arith_shared.analysis.sweep import compare_conditions
from arith_shared.errors import RunNotFoundError, UserError
from arith_shared.ledger import groups, views
from arith_shared.ledger.database import Database
from arith_shared.settings import Settings
from arith_shared.store.artifacts import ArtifactStore
from arith_shared.store.predictions import Cell
from arithctl.connection import open_store
from arithctl.predictions import predictions_of
from arithctl.sweeps import conditions_of

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of a comparison: a run, or the runs of a condition, which differ in their seed only."""

    label: str
    #: Runs with their seeds.
    runs: dict[str, int]


def arms(session: Session, names: Sequence[str]) -> list[Arm]:
    """The sides that the names stand for, the baseline first: each run, and each condition of each group.

    Raises UserError when there are fewer than two, or runs and conditions of several seeds are mixed.
    """
    found: list[Arm] = []
    for named in (groups.find(session, name) for name in names):
        if not named.is_group:
            (run,) = named.runs
            found.append(Arm(run.id, {run.id: int(run.spec["seed"])}))
            continue
        for condition in conditions_of(named.runs):
            alone = len(condition.runs) == 1
            label = next(iter(condition.runs)) if alone else f"{named.id}: {condition.label}"
            found.append(Arm(label, dict(condition.runs)))
    found = list({arm.label: arm for arm in found}.values())
    if len(found) < 2:
        raise UserError(
            "expected at least two runs to compare, or a group in which more than the seed was swept"
        )
    sizes = {len(arm.runs) > 1 for arm in found}
    if len(sizes) > 1:
        listed = "; ".join(f"{arm.label}: {len(arm.runs)}" for arm in found)
        raise UserError(
            f"a run has no interval over seeds, so it cannot be compared with a group; found runs {listed}"
        )
    return found


def compared(
    database: Database,
    settings: Settings,
    sides: Sequence[Arm],
    *,
    families: Sequence[str] = (),
    layers: bool = False,
    resamples: int = 1_000,
    paired: bool = True,
) -> list[Row]:
    """Differences of each side from the first, in order; without `paired` no predictions are read.

    Raises RunNotFoundError for a run without scores, UserError for runs that have no cell in common.
    """
    if len(sides[0].runs) > 1:
        if layers:
            raise UserError("--layers compares runs; of groups the best layers are compared")
        tables = [{seed: _scores(database, run) for run, seed in side.runs.items()} for side in sides]
        rows = [
            {"run": side.label, "baseline": sides[0].label, **row}
            for side, table in zip(sides[1:], tables[1:], strict=True)
            for row in compare_conditions(table, tables[0], families)
        ]
    else:
        readable = paired and settings.sees_artifacts
        store = open_store(settings) if readable else None
        first, *others = (_side(database, store, run) for side in sides for run in side.runs)
        rows = [
            row
            for other in others
            for row in compare(other, first, families=families, layers=layers, resamples=resamples)
        ]
    if all(row["metric"] == "accuracy" for row in rows):
        raise UserError("the runs have no position, token, variable and probe family in common")
    return rows


def remarks(rows: Sequence[Mapping[str, Any]], *, seeds: bool) -> list[str]:
    """What a reader must know before he believes an interval: pairing, n, and how many of them there are."""
    cells = [row for row in rows if row["metric"] != "accuracy" and row["difference"] is not None]
    said = [] if seeds else _pairing(cells)
    if seeds:
        paired = sum(row["paired"] for row in cells)
        said.append(
            f"Intervals are Student's over runs; {paired} of {len(cells)} cells pair runs of equal seed, the others "
            "take them as independent (Welch)."
        )
    by_chance = round(0.05 * len(cells))
    said.append(
        f"{len(cells)} cells, each with a 95 % interval of its own: if nothing differed, about {by_chance} of these "
        "intervals would still exclude 0. Neighbouring cells are not independent."
    )
    return said


def _pairing(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    paired = [row for row in cells if row["paired"]]
    said = []
    if paired:
        low, high = min(row["n"] for row in paired), max(row["n"] for row in paired)
        n = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        said.append(
            f"{len(paired)} of {len(cells)} cells are paired: bootstrap over the n = {n} problems that both runs "
            "were evaluated on."
        )
    if len(paired) < len(cells):
        said.append(
            f"{len(cells) - len(paired)} of {len(cells)} cells are not paired: other problems (task, seed), or no "
            "predictions at hand; intervals are those of independent estimates."
        )
    return said


def _scores(database: Database, run: str) -> list[Row]:
    with database.reading() as session:
        scores = views.table(session, run, "scores")
    if not scores:
        raise RunNotFoundError(f"{run} has no scores to compare yet; wait for its probe stage")
    return scores


def _side(database: Database, store: ArtifactStore | None, run: str) -> Side:
    scores = _scores(database, run)
    with database.reading() as session:
        summary = views.table(session, run, "summary")
    return Side(run, scores, summary, None if store is None else _reader(database, store, run))


def _reader(database: Database, store: ArtifactStore, run: str) -> Reader:
    predictions = predictions_of(database, store, run)
    there = set(predictions.cells)

    def read(layer: int, position: int, variable: str, family: str) -> Predicted | None:
        cell = Cell(layer, position, variable, family)
        return predictions.read(cell) if cell in there else None

    return read
