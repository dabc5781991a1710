"""Reading a run's files again: which of them are no longer what was published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from arith_shared.errors import ArtifactError
from arith_shared.ledger import views
from arith_shared.ledger.database import Database
from arith_shared.store.artifacts import ArtifactStore


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of one artifact."""

    stage: str
    #: Key of the unit that made it.
    unit: str
    #: Content key of the artifact.
    key: str
    size_bytes: int
    #: Names the file and what is wrong with it; None when all is well.
    damage: str | None


def verify(database: Database, store: ArtifactStore, run_id: str) -> Iterator[Verified]:
    """Read every artifact of a run, but for those that were deleted to save space, in the order of the stages."""
    with database.reading() as session:
        artifacts = views.artifacts(session, run_id)
    for stage, unit, artifact in artifacts:
        try:
            store.verify(artifact.path, artifact.digest)
            damage = None
        except (ArtifactError, OSError) as error:
            damage = str(error)
        yield Verified(stage, unit, artifact.key, artifact.size_bytes, damage)


def size_bytes(database: Database, run_id: str) -> int:
    """Bytes that `verify` will read."""
    with database.reading() as session:
        return sum(artifact.size_bytes for _, _, artifact in views.artifacts(session, run_id))
