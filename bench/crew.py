"""Workers of a bench that take turns: all are alive and warm, and some of them are given work."""

from __future__ import annotations

import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from celery import Celery
from sqlalchemy import select

from arith_model.tokenizer import save_tokenizer, tokenizer_for
from arith_model.transformer import build_for, save_model
from arith_shared import queue
from arith_shared.job import Worker
from arith_shared.ledger import reconcile, runs, schema
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import RUN_OVER, Run, Stage, Unit
from arith_shared.ledger.workers import alive
from arith_shared.settings import Settings
from arith_shared.specs import Spec
from arith_shared.work import Context, Outcome
from arith_shared.work import Unit as WorkUnit

#: Seconds after which whatever a bench waits for counts as never to come.
WITHIN_S = 180.0


@dataclass(slots=True)
class Crew:
    """A ledger, its broker, and workers that this object does not start."""

    settings: Settings
    database: Database
    sender: queue.Sender
    app: Celery
    #: What takes the place of training, as `module:function`.
    trainer: str

    def wait_for(self, count: int) -> None:
        """Until so many workers have reported themselves."""
        give_up = time.monotonic() + WITHIN_S
        while time.monotonic() < give_up:
            with self.database.reading() as session:
                if len(alive(session)) >= count:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"fewer than {count} workers reported themselves within {WITHIN_S:g} s")

    def at_work(self, queue_name: str, chosen: Sequence[str], everybody: Sequence[str]) -> None:
        """Let the `chosen` of `everybody` take messages of a queue, and nobody else."""
        for name in everybody:
            tell = self.app.control.add_consumer if name in chosen else self.app.control.cancel_consumer
            node = f"{name}@{socket.gethostname()}"
            if not tell(queue_name, destination=[node], reply=True, timeout=10):
                raise TimeoutError(f"worker {node} did not answer")

    def rate(self, spec: Spec, stage: str) -> float:
        """Units per second of a stage of a new run, whose stages before it are done first; then it is cancelled.

        Counted from start to start of each worker's units, so that what lies between two units counts, and summed
        over the workers: the last ones of a stage do not wait for each other.
        """
        run_id = self._submit(spec)
        self._until_done(run_id, stage)
        with self.database.transaction() as session:
            runs.cancel(session, run_id)
        with self.database.reading() as session:
            done = session.scalars(select(Unit).where(Unit.run_id == run_id, Unit.stage == stage)).all()
        starts: dict[str | None, list[float]] = defaultdict(list)
        for unit in done:
            starts[unit.worker_id].append(unit.started_at or 0.0)
        return sum((len(mine) - 1) / (max(mine) - min(mine)) for mine in starts.values() if len(mine) > 1)

    def _submit(self, spec: Spec) -> str:
        with self.database.transaction() as session:
            run_id = runs.submit(session, spec, recipe="bench").id
        self._tick()
        with self.database.reading() as session:
            model = session.scalars(select(Unit).where(Unit.run_id == run_id, Unit.stage == "train")).one()
        Worker(self.settings, "train", {"train": self.trainer}, "bench").run(model.id, model.attempt)
        return run_id

    def _until_done(self, run_id: str, stage: str) -> None:
        give_up = time.monotonic() + WITHIN_S
        while time.monotonic() < give_up:
            self._tick()
            with self.database.reading() as session:
                state = session.scalar(select(Stage.state).where(Stage.run_id == run_id, Stage.name == stage))
                run = session.get_one(Run, run_id)
            if state == "done":
                return
            if run.state in RUN_OVER:
                raise RuntimeError(f"{run_id} is {run.state}: {run.error}")
            time.sleep(0.1)
        raise TimeoutError(f"{run_id}: {stage} was not done within {WITHIN_S:g} s")

    def _tick(self) -> None:
        reconcile.tick(self.database, self.sender, resend_s=self.settings.resend_s, retry_s=1.0)


@contextmanager
def crew(settings: Settings, trainer: str) -> Iterator[Crew]:
    """A new ledger in the database that `settings` name, and the means to put work into it."""
    with closing(Database(settings.database)) as database, closing(queue.Sender(settings.broker)) as sender:
        schema.upgrade(database)
        yield Crew(settings, database, sender, queue.make_app(settings.broker), trainer)


def untrained(spec: Spec, unit: WorkUnit, context: Context) -> Outcome:
    """In place of training: the LM as it is before, which is as fast as any other."""
    save_model(build_for(spec), context.output)
    save_tokenizer(tokenizer_for(spec), context.output)
    return Outcome()
