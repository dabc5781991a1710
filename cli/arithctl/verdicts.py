"""Claims tables: the runs' rows from the database, the rules from `arith_shared.analysis.claims`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import Session

from arith_shared.analysis.claims import Evidence, judge
from arith_shared.ledger import views
from arith_shared.ledger.tables import Run
from arith_shared.specs import Spec


def claim_rows(session: Session, runs: Iterable[Run]) -> list[dict[str, Any]]:
    """A verdict on every claim of the paper that `runs`, alone or in pairs, can be asked about.

    A run without a summary is not judged yet: what it has still to probe could change every verdict.
    """
    evidence = []
    for run in runs:
        summary = views.table(session, run.id, "summary")
        if summary:
            spec = Spec.model_validate(run.spec)
            evidence.append(Evidence.of(run.id, spec, views.table(session, run.id, "scores"), summary))
    return judge(evidence)
