"""What a worker does with a message: claim, reuse or handle, publish, finish. No machine learning here."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import arith_shared
from arith_shared import compute, logs, queue
from arith_shared.ahead import ImportsAhead, load
from arith_shared.errors import (
    ArithError,
    ArtifactError,
    CancelledError,
    DrainError,
    InterruptedUnitError,
    MissingExtraError,
    UnreachableError,
    UserError,
)
from arith_shared.failpoints import reach
from arith_shared.health import Sign
from arith_shared.inputs import Inputs, damage_is_final
from arith_shared.lease import Lease
from arith_shared.ledger import plan, reconcile, units, workers
from arith_shared.ledger.database import Database
from arith_shared.ledger.rounds import kind_of, released_paths, round_of, stage_of
from arith_shared.ledger.tables import Artifact as ArtifactRow
from arith_shared.metrics import endpoint
from arith_shared.settings import Settings, load_settings
from arith_shared.store.artifacts import ArtifactStore
from arith_shared.store.space import full_disk_named
from arith_shared.work import ROWS_FILE, Artifact, Context, Handler, Row, Unit

if TYPE_CHECKING:
    from celery import Celery

#: What a stage's artifacts are called in the store.
KIND_OF = {"train": "models", "extract": "states", "probe": "scores", "summarize": "summaries"}
#: The extra that brings what the handlers of a queue import.
EXTRA_OF = {"train": "trainer", "extract": "extractor", "probe": "prober"}
#: Seconds between two signs of life of a worker process.
REPORT_S = 10.0
#: Seconds between two signs of life of a worker's loop, and after how many without one it counts as stuck.
BEAT_S = 2.0
SILENT_S = 60.0
#: Seconds before a result is offered again to a database that did not answer.
FINISH_AGAIN_S = 0.5

log = logging.getLogger(__name__)


class Worker:
    """One worker process (or its pool child): connections made on first use, and the life of a unit."""

    def __init__(
        self, settings: Settings, queue_name: str, handlers: Mapping[str, str], worker_id: str
    ) -> None:
        """`handlers` maps stages to `module:function`, imported ahead or when a unit first needs it."""
        self.settings, self.queue_name, self.worker_id = settings, queue_name, worker_id
        self._handlers = handlers
        self._ahead: ImportsAhead | None = None

    @cached_property
    def database(self) -> Database:
        """The ledger's database."""
        return Database(self.settings.database)

    @cached_property
    def store(self) -> ArtifactStore:
        """The artifact store."""
        return ArtifactStore(self.settings.artifact_root, cache=self.settings.home / "cache")

    @cached_property
    def inputs(self) -> Inputs:
        """What handlers read."""
        return Inputs(self.store)

    @cached_property
    def sender(self) -> queue.Sender:
        """Sends the messages of the units that this worker's finishing makes ready."""
        return queue.Sender(self.settings.broker)

    @property
    def drain_flag(self) -> Path:
        """A file whose existence tells the pool child that its parent is shutting down."""
        return Path(tempfile.gettempdir()) / f"arith-drain-{self.worker_id}"

    def run(self, unit_id: int, attempt: int) -> None:
        """Do what the message asks if it still means something."""
        with self.database.transaction() as session:
            held = units.claim(
                session,
                unit_id,
                attempt,
                owner=uuid.uuid4().hex,
                worker_id=self.worker_id,
                host=socket.gethostname(),
                lease_s=self.settings.lease_s,
            )
            reach("claim.before_commit")
        reach("claim.after_commit")
        if held is None:
            log.info("unit %d attempt %d: stale message dropped", unit_id, attempt)
            return
        with logs.bound(run=held.run_id, unit=f"{held.stage}/{held.key}#{held.attempt}"):
            self._run_claimed(held)
        self._deliver()

    def _run_claimed(self, held: units.Claim) -> None:
        lease = Lease(
            self.database,
            held,
            heartbeat_s=self.settings.heartbeat_s,
            lease_s=self.settings.lease_s,
            drain_flag=self.drain_flag,
            health_dir=self.settings.health_dir,
        )
        try:
            with lease:
                kept = self._reuse(held, lease) or self._handle(held, lease)
            log.info("done" if kept else "finished too late: the unit is no longer ours")
        except InterruptedUnitError as error:
            log.warning("stopped: %s", error)
            self._give_back(held, error)
        except Exception as error:
            log.exception("failed")
            self._fail(held, error)

    def _reuse(self, held: units.Claim, lease: Lease) -> bool:
        """Finish the unit with the artifact that exists under its content key, if it verifies."""
        with self.database.reading() as session:
            row = session.get(ArtifactRow, held.content_key)
        if row is None or row.deleted_at is not None:
            return False
        try:
            self.store.verify(row.path, row.digest)
        except ArtifactError as error:
            log.warning("not reused: %s", error)
            return False
        artifact = units.NewArtifact(row.key, row.kind, row.path, row.digest, row.size_bytes, row.meta)
        return self._finish(held, lease, artifact, _read_rows(self.store.fetch(row.path)), reused=True)

    def _handle(self, held: units.Claim, lease: Lease) -> bool:
        done = kind_of(held.stage)
        handler = self._handler(done)
        kind = KIND_OF[done]
        unit = Unit(held.run_id, done, held.key, held.attempt, held.payload)
        outer, inner = full_disk_named(self.store.folder), full_disk_named(self.store.folder)
        # The inner one tells what is free while the attempt's files are there; the outer one, that no folder fits.
        with outer, self.store.workspace(kind, held.content_key) as output, inner:
            scratch = self.store.scratch(held.content_key)
            with damage_is_final(held.run_id):
                context = Context(self._inputs(held), output, scratch, lease)
                reach("handler.before")
                started = time.monotonic()
                outcome = handler(units.spec_of(held), unit, context)
                log.info("handled in %.3f s", time.monotonic() - started)
            reach("handler.after")
            _write_rows(output, outcome.rows)
            published = self.store.publish(output, kind, held.content_key, outcome.meta)
            reach("publish.after")
        artifact = units.NewArtifact(
            held.content_key, kind, published.path, published.digest, published.size_bytes, outcome.meta
        )
        finished = self._finish(held, lease, artifact, outcome.rows)
        if finished:
            shutil.rmtree(scratch, ignore_errors=True)
        return finished

    def import_ahead(self) -> None:
        """Import what the handlers need while no unit is there yet, from a thread."""
        self._ahead = ImportsAhead(handler.partition(":")[0] for handler in self._handlers.values())

    def _handler(self, stage: str) -> Handler:
        if self._ahead is not None:
            self._ahead.needed()
        module, _, function = self._handlers[stage].partition(":")
        try:
            handler: Handler = getattr(load(module), function)
        except ModuleNotFoundError as error:
            extra = EXTRA_OF[self.queue_name]
            raise MissingExtraError(
                f"{module} needs {error.name}, which is not installed: pip install 'arithctl[{extra}]'"
            ) from error
        return handler

    def _inputs(self, held: units.Claim) -> dict[str, tuple[Artifact, ...]]:
        """The artifacts of the stages before that the unit may read, at hand on this machine."""
        with self.database.reading() as session:
            rows = plan.inputs_of(session, held.run_id, held.stage)
        return self.inputs.fetch(rows)

    def _finish(
        self,
        held: units.Claim,
        lease: Lease,
        artifact: units.NewArtifact,
        rows: Mapping[str, Sequence[Row]],
        *,
        reused: bool = False,
    ) -> bool:
        """Record the result. The work is done, so a database that does not answer is asked again while we may."""
        while True:
            try:
                with self.database.transaction() as session:
                    finished = units.finish(
                        session, held, artifact, rows, reused=reused, report=lease.report()
                    )
                    if not reused and (device := artifact.meta.get("device")):
                        workers.set_device(session, self.worker_id, str(device))
                    reach("finish.before_commit")
            except UnreachableError as error:
                log.warning("result not recorded yet, will try again: %s", error)
                lease.check()
                time.sleep(FINISH_AGAIN_S)
            else:
                reach("finish.after_commit")
                self._remove_released(held)
                return finished

    def _remove_released(self, held: units.Claim) -> None:
        """Remove the hidden states that this finish has made superfluous; what a killed worker leaves, `gc` finds."""
        if kind_of(held.stage) != "probe":
            return
        with self.database.reading() as session:
            extracted = stage_of("extract", round_of(held.stage))
            paths = released_paths(session, held.run_id, extracted)
        for path in paths:
            self.store.remove(path)

    def _give_back(self, held: units.Claim, error: InterruptedUnitError) -> None:
        if isinstance(error, DrainError | CancelledError):
            with self.database.transaction() as session:
                units.release(session, held, "released" if isinstance(error, DrainError) else "cancelled")
                reach("release.before_commit")

    def _fail(self, held: units.Claim, error: Exception) -> None:
        message = str(error) if isinstance(error, ArithError) else f"{type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(error))
        with self.database.transaction() as session:
            units.fail(
                session,
                held,
                message,
                trace,
                permanent=isinstance(error, UserError),
                retry_s=self.settings.retry_s,
            )
            reach("fail.before_commit")

    def _deliver(self) -> None:
        """Send on what has become ready: the reconciler would too, but a tick later."""
        refusal = reconcile.deliver(self.database, self.sender, resend_s=self.settings.resend_s)
        if refusal is not None:
            log.warning("will send again: %s", refusal)

    def report_for_life(self) -> None:
        """Say that this worker is alive, now and every ten seconds, from a thread of the parent process."""
        self.drain_flag.unlink(missing_ok=True)
        if self.settings.insecure:
            log.warning("%s", self.settings.insecure)
        stages = list(self._handlers)
        endpoint.if_possible(endpoint.serve_worker, self.settings, self.database, self.worker_id, stages)
        threading.Thread(target=self._report_loop, name="report", daemon=True).start()

    def _report_loop(self) -> None:
        pause = threading.Event()
        while not self.drain_flag.exists():
            try:
                with self.database.transaction() as session:
                    workers.report(
                        session,
                        self.worker_id,
                        host=socket.gethostname(),
                        pid=os.getpid(),
                        queue=self.queue_name,
                        version=arith_shared.__version__,
                    )
                self._deliver()
            except Exception as error:  # noqa: BLE001 - a worker must outlive a restarted database
                log.warning("could not report to the database: %s", error)
            pause.wait(REPORT_S)

    def drain(self) -> None:
        """Tell the pool child to hand its unit back, and everybody else not to count on this worker.

        Runs in a signal handler: the main thread may be in the middle of anything, and a second signal in the middle
        of this. A transaction here could wait for one that waits for it, so a thread of its own has it.
        """
        self.drain_flag.touch()
        threading.Thread(target=self._retire, name="retire", daemon=True).start()

    def _retire(self) -> None:
        try:
            with self.database.transaction() as session:
                workers.retire(session, self.worker_id)
        except UnreachableError as error:
            log.warning("could not retire: %s", error)

    def gone(self) -> None:
        """Leave nothing behind."""
        with self.database.transaction() as session:
            workers.forget(session, self.worker_id)
        self.drain_flag.unlink(missing_ok=True)
        log.info("stopped")


def worker_app(queue_name: str, module: str, handlers: Mapping[str, str]) -> Celery:
    """The Celery app of a worker service; `module` is the module that calls this, `handlers` as in `Worker`."""
    settings = load_settings()
    # At once, and not only when Celery asks for it: it warns and fails before that.
    logs.configure(settings.log_format)
    compute.prepare(queue_name, settings.threads)
    # The pool child is a fresh interpreter that imports the same module: it finds its parent's name here.
    worker_id = os.environ.setdefault("ARITH_WORKER_ID", f"{queue_name}-{uuid.uuid4().hex[:8]}")
    worker = Worker(settings, queue_name, handlers, worker_id)
    app = queue.make_app(settings.broker, queue=queue_name, include=module)
    queue.register(app, worker.run)
    queue.on_consumer_beat(app, Sign(settings.health_dir, "consumer", SILENT_S).renew, BEAT_S)
    queue.on_logging_setup(lambda: logs.configure(settings.log_format))
    queue.on_child_start(app, worker.import_ahead)
    queue.on_worker_life(worker.report_for_life, worker.drain, worker.gone)
    return app


def _write_rows(folder: Path, rows: Mapping[str, Sequence[Row]]) -> None:
    text = json.dumps(rows, allow_nan=False, indent=None, separators=(",", ":"))
    (folder / ROWS_FILE).write_text(text, encoding="utf-8")


def _read_rows(folder: Path) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = json.loads((folder / ROWS_FILE).read_text(encoding="utf-8"))
    return rows
