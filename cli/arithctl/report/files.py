"""Where a report finds the files of runs, or why it cannot."""

from __future__ import annotations

from collections.abc import Sequence

from arith_shared.settings import Settings
from arith_shared.store.artifacts import ArtifactStore
from arithctl.connection import open_store


def store_for(settings: Settings, names: Sequence[str]) -> tuple[ArtifactStore | None, str]:
    """The artifacts, or a sentence that says why they cannot be read from here, about the runs that were named."""
    if settings.sees_artifacts:
        return open_store(settings), ""
    command = f"docker compose run --rm cli arithctl report {' '.join(names)}"
    return None, (
        "The stack keeps this run's files in a Docker volume, which the machine of this report could not read. "
        f"With them: {command}"
    )
