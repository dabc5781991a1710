"""Those who submit, cancel, resume, delete and collect garbage, and who look closely at every run that ends."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arith_shared.errors import UnreachableError, UserError
from arith_shared.ledger import invariants, runs
from arith_shared.ledger.tables import RUN_OVER, Artifact, Attempt, Run, Unit
from arithctl.housekeeping import GRACE_S, Housekeeper
from arithctl.submission import new_run
from harness.deployment import Results, results_of
from harness.oracle import undisturbed_results
from soak.world import World

#: A new run often repeats one of the last few: then two may race for the same artifacts, or one reuses them.
REMEMBERED = 6
_SUCCEEDED = Attempt.outcome.in_(("done", "reused"))
#: Runs that are over and still there, so that each look at the invariants has something to look at.
KEPT = 12


@dataclass
class Found:
    """What the soak is about. All but the first group must be empty or zero in the end."""

    runs: Counter[str] = field(default_factory=Counter)
    units_done: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    checks: int = 0

    lost: int = 0
    doubled: int = 0
    differing: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether everything that was promised was kept."""
        return not (self.lost or self.doubled or self.differing or self.violations)


class People:
    """Keep a few runs going on a world, and compare each one that is done with one that nothing happened to."""

    def __init__(self, world: World, rng: random.Random) -> None:
        """Nothing is submitted yet."""
        self.world, self._rng = world, rng
        self.found = Found()
        self._seeds = iter(range(1_000_000))
        self._recent: deque[int] = deque(maxlen=REMEMBERED)
        #: Seed by run, of runs that are wanted to end done; and of those that have.
        self._open: dict[str, int] = {}
        self._done: deque[str] = deque()
        self._ends: invariants.Ends | None = None
        #: When a unit was last done, by the database's clock.
        self.latest_end = 0.0
        #: Units that are done, of runs that are not.
        self.units_under_way = 0
        self._reference = cache(self._work_undisturbed)

    @property
    def is_waiting(self) -> bool:
        """Whether a run is not over yet."""
        return bool(self._open)

    def look(self) -> None:
        """Check every invariant, and each run that has ended since the last look."""
        with contextlib.suppress(UnreachableError):
            with self.world.deployment.reading() as session:
                states = self._look(session)
            for run_id, state, error in states:
                if run_id in self._open and state in RUN_OVER:
                    self._ended(run_id, state, error or "")

    def act(self) -> None:
        """Do what people do, now and then."""
        if len(self._open) < self.world.part.runs:
            self._submit()
        if self._rng.random() < 0.01 and self._open:
            self._cancel(self._rng.choice(sorted(self._open)))
        if self._rng.random() < 0.02:
            self._collect()
        if len(self._done) > KEPT and self._try(lambda session: _delete(session, self._done[0])):
            self.found.runs["deleted"] += 1
            self._done.popleft()

    def close(self) -> None:
        """Nothing more happens: what is not done now is lost, and nothing may lie about after a collection."""
        for run_id, seed in self._open.items():
            self.found.lost += len(self._reference(seed).digests)
            self.found.violations.append(f"run {run_id} did not end")
        if self._open:
            return
        with self.world.deployment.reading() as session:
            named = set(session.scalars(select(Artifact.path).where(Artifact.deleted_at.is_(None))))
            digests = session.execute(select(Artifact.path, Artifact.digest)).all()
        for path, digest in digests:
            self.world.deployment.store.verify(path, digest)
        self._collect(grace_s=-1.0)
        root = Path(self.world.deployment.settings.artifact_root)
        for file in (path.relative_to(root) for path in root.rglob("*") if path.is_file()):
            if not any(str(file).startswith(f"{path}/") for path in named):
                self.found.violations.append(f"{file} is left over after a collection")

    def _try(self, action: Callable[[Session], Any]) -> Any:
        """What `action` returns in a transaction; None if the database does not answer: then another time."""
        with contextlib.suppress(UnreachableError), self.world.deployment.database.transaction() as session:
            return action(session)

    def _look(self, session: Session) -> list[tuple[str, str, str | None]]:
        self.found.violations += invariants.violations(session)
        ends = invariants.ends(session)
        if self._ends is not None:
            self.found.violations += invariants.undone(self._ends, ends)
        self._ends = ends
        self.found.checks += 1
        self.latest_end = session.scalar(select(func.max(Attempt.ended_at)).where(_SUCCEEDED)) or 0.0
        under_way = select(func.count()).where(Unit.run_id.in_(self._open), Unit.state == "done")
        self.units_under_way = session.scalar(under_way) or 0
        found = session.execute(select(Run.id, Run.state, Run.error, Run.spec)).all()
        for run_id in set(self._open).difference(run.id for run in found):
            self.found.violations.append(f"run {run_id} has vanished")
            self.found.lost += len(self._reference(self._open.pop(run_id)).digests)
        for run in found:
            # Its submitter may never have heard that it was committed.
            if run.id not in self._done:
                self._open.setdefault(run.id, run.spec["seed"])
        return [(run.id, run.state, run.error) for run in found]

    def _ended(self, run_id: str, state: str, error: str) -> None:
        if state == "done":
            self._compare(run_id)
            return
        # Three faults may hit one unit: then a run fails as it should, and a person resumes it.
        if state == "failed" and "units failed:" not in error:
            self.found.violations.append(f"run {run_id} failed for no reason that a fault explains: {error}")
        if self._try(lambda session: runs.resume(session, run_id)):
            self.found.runs[f"{state}, resumed"] += 1

    def _compare(self, run_id: str) -> None:
        seed = self._open[run_id]
        with self.world.deployment.reading() as session:
            results = results_of(session, run_id)
            attempts = session.execute(
                select(Attempt.unit_id, Attempt.outcome)
                .join(Unit, Unit.id == Attempt.unit_id)
                .where(Unit.run_id == run_id)
            ).all()
        outcomes = Counter(str(outcome) for _, outcome in attempts)
        done = {unit_id for unit_id, outcome in attempts if outcome in ("done", "reused")}
        wanted = self._reference(seed)
        if results != wanted:
            self.found.differing.append(f"run {run_id} of seed {seed}")
        self.found.lost += len(wanted.digests) - len(done)
        self.found.doubled += outcomes["done"] + outcomes["reused"] - len(done)
        self.found.units_done += len(done)
        self.found.attempts.update(outcomes)
        self.found.runs["done"] += 1
        del self._open[run_id]
        self._done.append(run_id)

    def _submit(self) -> None:
        if self._recent and self._rng.random() < 0.2:
            seed = self._rng.choice(self._recent)
        else:
            seed = next(self._seeds)
            self._recent.append(seed)
        run_id = None
        deployment, spec = self.world.deployment, self.world.part.spec(seed)
        if "broker" in self.world.broken:
            # `submit` would refuse and send nothing: as if it had been killed after its commit.
            run_id = self._try(lambda session: runs.submit(session, spec, recipe="soak").id)
        else:
            with contextlib.suppress(UnreachableError):
                run_id = new_run(deployment.settings, spec, recipe="soak", name=None)
        if run_id is None:
            return
        self.found.runs["submitted"] += 1
        self._open[run_id] = seed

    def _cancel(self, run_id: str) -> None:
        if self._try(lambda session: runs.cancel(session, run_id)):
            self.found.runs["cancelled"] += 1

    def _collect(self, grace_s: float = GRACE_S) -> None:
        deployment = self.world.deployment
        keeper = Housekeeper(deployment.database, deployment.store, max_bytes=None, grace_s=grace_s)
        try:
            removed = [piece for piece in keeper.find() if keeper.remove(piece)]
        except (UnreachableError, UserError):
            return
        self.found.runs["files or folders collected"] += len(removed)

    def _work_undisturbed(self, seed: int) -> Results:
        part = self.world.part
        with tempfile.TemporaryDirectory(prefix="arith-soak-") as folder:
            return undisturbed_results(Path(folder), part.spec(seed), part.handlers)


def _delete(session: Session, run_id: str) -> bool:
    # The answer to an earlier try may have been lost.
    if session.get(Run, run_id) is not None:
        runs.delete(session, run_id)
    return True
