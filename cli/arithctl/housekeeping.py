"""What can go, and how it goes: the rows of `ledger.garbage` and the files of `store` brought together.

Files are listed before rows are read, so a file that is listed and named was named in time. Files that a worker
has published but not yet recorded look like garbage for a moment; a grace period, far longer than that moment,
keeps them. Workspaces belong to attempts: none is removed that is younger than the oldest attempt in work. The
artifact root must belong to one database: what another one names looks like garbage from here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arith_shared.errors import DiskBudgetError, UserError
from arith_shared.ledger import garbage
from arith_shared.ledger.database import Database
from arith_shared.ledger.garbage import Spare
from arith_shared.settings import Settings
from arith_shared.store.artifacts import ArtifactStore
from arithctl.output import human_bytes

#: Seconds; a worker records what it has published within seconds, or its lease ends within minutes.
GRACE_S = 3600.0

Kind = Literal["unreferenced", "unnamed", "unfinished", "workspace", "scratch", "states"]
#: What each kind is, in the order in which they go: hidden states only if the rest was not enough.
KINDS: dict[Kind, str] = {
    "unreferenced": "artifacts that no run names any more",
    "unnamed": "published files that no row names",
    "unfinished": "uploads cut short",
    "workspace": "workspaces of killed attempts",
    "scratch": "checkpoints of work that is done",
    "states": "hidden states over ARITH_MAX_BYTES",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Something to be removed."""

    kind: Kind
    #: A path below the artifact root, or one on this machine.
    where: str | Path
    size_bytes: int
    #: The row, where there is one.
    spare: Spare | None = None


def require_own_root(settings: Settings) -> None:
    """Raise UserError where a database is named and its artifact root is not: what lies here belongs to another."""
    if settings.mode != "compose" and settings.database_url is not None and settings.artifacts is None:
        raise UserError(
            f"ARITH_DATABASE_URL names a database, but nothing says where its artifacts lie, and those in "
            f"{settings.artifact_root} would be compared with it: set ARITH_ARTIFACTS as its workers have it, or "
            "ARITH_MODE=embedded for the runs of this folder"
        )


class Housekeeper:
    """Finds what can go and removes it."""

    def __init__(
        self, database: Database, store: ArtifactStore, *, max_bytes: int | None, grace_s: float = GRACE_S
    ) -> None:
        """Without `max_bytes` only garbage is found."""
        self._database, self._store = database, store
        self._max_bytes, self._grace_s = max_bytes, grace_s

    def find(self) -> list[Piece]:
        """All that can go, garbage first, then hidden states as far as needed. Changes nothing.

        Raises UserError where the database names none of the root's artifacts: it may not be theirs.
        """
        pieces = [*self._artifacts(), *self._leftovers()]
        return [*pieces, *self._states_over_cap(pieces)]

    def remove(self, piece: Piece) -> bool:
        """Remove a piece, its row first; False if somebody has come to need it since it was found."""
        if piece.spare is not None:
            release = garbage.mark_deleted if piece.kind == "states" else garbage.forget
            with self._database.transaction() as session:
                if not release(session, piece.spare):
                    return False
        if isinstance(piece.where, str):
            self._store.remove(piece.where)
        elif piece.where.is_dir():
            shutil.rmtree(piece.where, ignore_errors=True)
        else:
            piece.where.unlink(missing_ok=True)
        return True

    def _artifacts(self) -> Iterator[Piece]:
        """Published files of which the database knows nothing any more, or never did."""
        published = list(self._store.paths())
        with self._database.reading() as session:
            named, active = garbage.named_paths(session), garbage.active_keys(session)
            spares = garbage.unreferenced(session)
        if published and not named:
            raise UserError(
                f"{self._store.url} holds {len(published)} artifacts, and the database names none of them: "
                "check ARITH_DATABASE_URL, ARITH_HOME and ARITH_ARTIFACTS; if they are right, remove that folder"
            )
        for spare in spares:
            yield Piece("unreferenced", spare.path, spare.size_bytes, spare)
        for path in published:
            # Two attempts may both publish; who began to read the first goes on when the row names the second.
            if (
                path not in named
                and path.split("/")[1] not in active
                and self._store.age_s(path) > self._grace_s
            ):
                yield Piece("unnamed", path, self._store.size_bytes(path))

    def _leftovers(self) -> Iterator[Piece]:
        """What killed attempts leave behind, and checkpoints that nobody will go on from."""
        scratch = list(self._store.stale_scratch(self._grace_s))
        with self._database.reading() as session:
            patience = self._grace_s + garbage.longest_attempt_s(session)
            wanted = garbage.unfinished_keys(session)
        for path in self._store.unfinished(patience):
            yield Piece("unfinished", path, self._store.size_bytes(path))
        for folder in self._store.stale_workspaces(patience):
            yield Piece("workspace", folder, _bytes_of(folder))
        for folder in scratch:
            if folder.name not in wanted:
                yield Piece("scratch", folder, _bytes_of(folder))

    def _states_over_cap(self, garbage_found: list[Piece]) -> Iterator[Piece]:
        if self._max_bytes is None:
            return
        used = self._store.used_bytes() - sum(
            piece.size_bytes
            for piece in garbage_found
            if self._store.is_local or isinstance(piece.where, str)
        )
        with self._database.reading() as session:
            spares = garbage.spare_states(session)
        gone = {piece.where for piece in garbage_found}
        for spare in spares:
            if used <= self._max_bytes:
                return
            if spare.path not in gone:
                yield Piece("states", spare.path, spare.size_bytes, spare)
                used -= spare.size_bytes


def make_room(settings: Settings, database: Database, store: ArtifactStore) -> list[Piece]:
    """Bring the root below `ARITH_MAX_BYTES` before a run is added; returns what was removed for that.

    Raises DiskBudgetError when what is left is all in use.
    """
    if settings.max_bytes is None or store.used_bytes() <= settings.max_bytes:
        return []
    require_own_root(settings)
    keeper = Housekeeper(database, store, max_bytes=settings.max_bytes)
    removed = [piece for piece in keeper.find() if keeper.remove(piece)]
    if (used := store.used_bytes()) > settings.max_bytes:
        raise DiskBudgetError(
            f"{store.url} holds {human_bytes(used)}, more than ARITH_MAX_BYTES={settings.max_bytes}, and what is "
            "left is in use: `arithctl delete` old runs and run `arithctl gc`, or raise ARITH_MAX_BYTES"
        )
    return removed


def _bytes_of(path: Path) -> int:
    return sum(item.lstat().st_size for item in (path, *path.rglob("*")) if not item.is_dir())
