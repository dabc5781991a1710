"""A unit's inputs: fetched to this machine, and never believed when they have changed.

A probe reads a small part of the hidden states, and each page of them has a checksum of its own; reading whole
shards first would cost more than the probe. Everything else is read whole by the handler anyway, and a copy of a
remote artifact was downloaded at a greater cost, so these are verified whole, once per process. What is damaged
stays damaged: the failure is final and says how to mend it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from arith_shared.errors import ArtifactError, DamagedInputError
from arith_shared.ledger.tables import Artifact as ArtifactRow
from arith_shared.store.artifacts import ArtifactStore
from arith_shared.work import Artifact

#: The kind of artifact whose reader notices damage by itself.
_SELF_CHECKING = "states"


class Inputs:
    """Fetches artifacts for handlers; lives as long as its process."""

    def __init__(self, store: ArtifactStore) -> None:
        """Nothing is verified yet."""
        self._store = store
        self._verified: set[str] = set()

    def fetch(self, rows: Mapping[str, Sequence[ArtifactRow]]) -> dict[str, tuple[Artifact, ...]]:
        """The artifacts by stage, at hand on this machine. Raises ArtifactError naming a missing or changed file."""
        return {stage: tuple(map(self._fetch, artifacts)) for stage, artifacts in rows.items()}

    def _fetch(self, row: ArtifactRow) -> Artifact:
        if row.deleted_at is not None:
            # Its meta is still good; who opens it finds a folder that is not there, and says so.
            return Artifact(row.key, row.kind, self._store.folder / row.path, row.digest, row.meta)
        known = row.path in self._verified or (row.kind == _SELF_CHECKING and self._store.is_local)
        folder = self._store.fetch(row.path) if known else self._store.fetch_verified(row.path)
        self._verified.add(row.path)
        return Artifact(row.key, row.kind, folder, row.digest, row.meta)


@contextmanager
def damage_is_final(run_id: str) -> Iterator[None]:
    """Turn what the block finds wrong with an artifact into DamagedInputError, with the remedy for this run."""
    try:
        yield
    except ArtifactError as error:
        fact, _, remedy = str(error).rpartition("; ")
        raise DamagedInputError(
            f"a file that the unit reads is damaged: {fact or remedy}; "
            f"`arithctl resume {run_id} --repair` makes it again"
        ) from error
