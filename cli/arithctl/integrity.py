"""Reading a run's files again: which of them are no longer what was published."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from arith_shared.errors import ArtifactError, UnreachableError
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


def verify(database: Database, store: ArtifactStore, run_id: str, console: Console) -> list[Verified]:
    """Read every artifact of a run, but for those that were deleted to save space, in the order of the stages.

    Shows a bar on a terminal. Raises UnreachableError where the artifact root cannot be read.
    """
    with database.reading() as session:
        artifacts = views.artifacts(session, run_id)
    bar = Progress(
        TextColumn("{task.description:<28}"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    )  # fmt: skip
    found = []
    with bar:
        task = bar.add_task("", total=sum(artifact.size_bytes for _, _, artifact in artifacts))
        for stage, unit, artifact in artifacts:
            bar.update(task, description=f"{stage} {unit}")
            damage = _damage(store, artifact.path, artifact.digest)
            found.append(Verified(stage, unit, artifact.key, artifact.size_bytes, damage))
            bar.advance(task, artifact.size_bytes)
    return found


def _damage(store: ArtifactStore, path: str, digest: str) -> str | None:
    try:
        store.verify(path, digest)
    except ArtifactError as error:
        # Without the remedy: it is the same for all, and the caller knows the run.
        return str(error).rpartition("; ")[0] or str(error)
    except OSError as error:
        # A disk that cannot read a file any more is damage; a server that does not answer is none.
        if error.errno != errno.EIO:
            raise UnreachableError(f"artifact root {store.url}: {error}") from error
        return str(error)
    return None
