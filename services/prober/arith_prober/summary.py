"""Gathers what the summary of a run is made from: facts about the shards, and all score rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from arith_shared.analysis.summary import summarize as summarize_rows
from arith_shared.work import ROWS_FILE, Artifact, Context, Outcome, Row, Unit

if TYPE_CHECKING:
    from arith_shared.specs import Spec


def summarize(spec: Spec, unit: Unit, context: Context) -> Outcome:
    """Return the summary and emergence rows of a run; `unit` says nothing more."""
    scores = [row for block in context.inputs["probe"] for row in read_scores(block)]
    rows = summarize_rows(
        layout=spec.task.evaluation().layouts[0],
        threshold=spec.probe.threshold,
        shards=[shard.meta for shard in context.inputs["extract"] if shard.meta["weights"] == "trained"],
        scores=scores,
    )
    context.progress(1, 1, "summaries")
    return Outcome(rows=rows)


def read_scores(block: Artifact) -> list[Row]:
    """Return the score rows stored in a probe artifact."""
    rows: list[Row] = json.loads((block.path / ROWS_FILE).read_text())["scores"]
    return rows
