"""Runs in the ledger, and their files where those can be read, to `ReportData`.

Rows are enough for everything but two panels, the points behind a cell and the training curve. Where their files are
out of reach, the report says so in their place; a run that is not over gives what it has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

import arith_shared
from arith_shared.errors import ArithError
from arith_shared.ledger import groups, views
from arith_shared.ledger.database import Database
from arith_shared.ledger.rounds import kind_of
from arith_shared.ledger.tables import RUN_OVER, Artifact, Run
from arith_shared.specs import Spec
from arith_shared.store.artifacts import ArtifactStore
from arithctl.figures.data import FigureData
from arithctl.predictions import predictions_of
from arithctl.report import facts
from arithctl.report.data import Curve, ReportData, Row, RunReport, Scatters
from arithctl.report.grids import grid_of
from arithctl.report.scatters import no_scatters, scatters_of
from arithctl.verdicts import claim_rows

#: Points behind a cell, by default.
POINTS = 200
#: Points of a training curve at most: more than a screen has columns for.
_CURVE = 400
_NO_POINTS = "The points behind the cells were left out of this report."


def collect(
    database: Database,
    names: Sequence[str],
    store: ArtifactStore | None,
    *,
    unreadable: str = "",
    points: int = POINTS,
) -> ReportData:
    """What a page about the runs that `names` stand for shows; a group stands for all of its runs.

    Without a `store`, `unreadable` says in a sentence why there is none and what to do. Raises RunNotFoundError.
    """
    with database.reading() as session:
        found = groups.find_all(session, names)
        claims = claim_rows(session, found)
        ids = {run.id for run in found}
        drafts = [_draft(session, run) for run in found]
    reports = []
    for draft in drafts:
        scatters = _scatters(database, draft, store, unreadable, points)
        curve = _curve(draft, store, unreadable)
        reports.append(
            _finish(draft, [row for row in claims if row["run"] == draft["run"].id], scatters, curve)
        )
    return ReportData(
        runs=reports,
        pair_claims=[row for row in claims if row["run"] not in ids],
        version=arith_shared.__version__,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        live=any(report.state not in RUN_OVER for report in reports),
    )


def _draft(session: Session, run: Run) -> Row:
    """All that the database knows of a run."""
    tables = {name: views.table(session, run.id, name) for name in ("scores", "summary", "emergence")}
    scores = tables["scores"]
    title = run.name or ""
    data = FigureData.from_rows(run.id, scores, title=title, summary=tables["summary"]) if scores else None
    artifacts = [(kind_of(stage), artifact) for stage, _, artifact in views.artifacts(session, run.id)]
    session.expunge(run)
    return {
        "run": run,
        "view": views.run_view(session, run.id),
        "data": data,
        "artifacts": artifacts,
        **tables,
    }


def _finish(draft: Row, claims: list[Row], scatters: Scatters, curve: Curve) -> RunReport:
    run: Run = draft["run"]
    data: FigureData | None = draft["data"]
    spec = Spec.model_validate(run.spec)
    question, answer = facts.example(spec)
    devices = {artifact.meta.get("device") for _, artifact in draft["artifacts"]} - {None}
    command, note = facts.command(run, spec)
    return RunReport(
        id=run.id,
        name=run.name or "",
        recipe=run.recipe,
        title=facts.recipe_title(run.recipe),
        state=run.state,
        error=run.error or "",
        question=question,
        answer=answer,
        pattern="".join(token.label for token in spec.task.probed_tokens()),
        facts=facts.facts(spec, _training_meta(draft)),
        stages=[_stage(stage) for stage in draft["view"].stages],
        accuracy=next((row for row in draft["summary"] if row["name"] == "accuracy"), None),
        summary=draft["summary"],
        emergence=draft["emergence"],
        claims=claims,
        grid=grid_of(data) if data else None,
        scatters=scatters,
        curve=curve,
        provenance=facts.provenance(run, ", ".join(sorted(map(str, devices)))),
        spec=facts.spec_text(spec),
        command=command,
        command_note=note,
    )


def _stage(stage: views.StageView) -> Row:
    return {
        "name": stage.name, "state": stage.state, "done": stage.done, "total": stage.total,
        "fraction": round(stage.fraction, 3), "note": " ".join(filter(None, (stage.progress, stage.note))),
    }  # fmt: skip


def _scatters(
    database: Database, draft: Row, store: ArtifactStore | None, unreadable: str, points: int
) -> Scatters:
    data: FigureData | None = draft["data"]
    if data is None or not points:
        return no_scatters(_NO_POINTS if data is not None else "")
    if store is None:
        return no_scatters(unreadable)
    try:
        return scatters_of(data, predictions_of(database, store, draft["run"].id), points)
    except ArithError as error:
        return no_scatters(f"The predictions of this run cannot be read: {error}")


def _training_meta(draft: Row) -> Mapping[str, Any]:
    return next((artifact.meta for kind, artifact in draft["artifacts"] if kind == "train"), {})


def _curve(draft: Row, store: ArtifactStore | None, unreadable: str) -> Curve:
    if Spec.model_validate(draft["run"].spec).lm.kind == "pretrained":
        return Curve("The LM was trained by others; there is no curve.", [], [], [], [])
    artifact: Artifact | None = next((one for kind, one in draft["artifacts"] if kind == "train"), None)
    if artifact is None:
        return Curve("The curve appears when training is over.", [], [], [], [])
    if store is None:
        return Curve(unreadable, [], [], [], [])
    try:
        text = store.read_text(artifact.path, "training.jsonl")
    except ArithError as error:
        return Curve(f"The log of the training cannot be read: {error}", [], [], [], [])
    return curve_of([json.loads(line) for line in text.splitlines()])


def curve_of(lines: Sequence[Mapping[str, Any]]) -> Curve:
    """The training log thinned out to a few hundred steps; every measured accuracy and the last step stay."""
    every = max(1, -(-len(lines) // _CURVE))
    kept = [
        line
        for index, line in enumerate(lines)
        if index % every == 0 or "accuracy" in line or index == len(lines) - 1
    ]
    return Curve(
        "",
        [int(line["step"]) for line in kept],
        [_rounded(line.get("loss")) for line in kept],
        [_rounded(line.get("accuracy")) for line in kept],
        _lessons(kept),
    )


def _lessons(lines: Iterable[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """The step after which each lesson began: a lesson's name stands beside its measured accuracies alone."""
    found: list[tuple[int, str]] = []
    measured = 0
    for line in lines:
        if "lesson" in line and (not found or found[-1][1] != line["lesson"]):
            found.append((measured, line["lesson"]))
        if "accuracy" in line:
            measured = int(line["step"])
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
