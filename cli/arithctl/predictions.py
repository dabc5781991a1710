"""The predictions of a run's probes, fetched from wherever its artifacts are."""

from __future__ import annotations

from arith_shared.ledger import views
from arith_shared.ledger.database import Database
from arith_shared.ledger.rounds import kind_of
from arith_shared.store.artifacts import ArtifactStore
from arith_shared.store.predictions import Predictions


def predictions_of(database: Database, store: ArtifactStore, run_id: str) -> Predictions:
    """What the run has so far; empty where it keeps none. Raises ArtifactError when a file is missing or damaged."""
    with database.reading() as session:
        found = views.artifacts(session, run_id)
    return Predictions(
        store.fetch(artifact.path) for stage, _, artifact in found if kind_of(stage) == "probe"
    )
