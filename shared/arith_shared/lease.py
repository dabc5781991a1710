"""The thread that keeps a unit ours: heartbeats out, reasons to stop in.

The handler's thread hears of a reason at its next call of `progress`. A handler that does not listen within
`STOP_WITHIN_S` is ended with its process: a lease that is lost may be held by somebody else already, and no
work done after that may ever be published.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from arith_shared.errors import (
    CancelledError,
    DrainError,
    InterruptedUnitError,
    LeaseLostError,
    UnreachableError,
)
from arith_shared.health import Sign
from arith_shared.ledger import units
from arith_shared.ledger.database import Database
from arith_shared.pace import Pace
from arith_shared.vitals import VITALS

#: Seconds that a handler has to notice a lost lease or a cancelled run.
STOP_WITHIN_S = 30.0
#: Seconds between looks at the drain flag; much shorter than a container's grace period.
DRAIN_POLL_S = 0.5
#: Exit status of a process that ended itself: "temporary failure" in sysexits.h.
EXIT_FENCED = 75

log = logging.getLogger(__name__)


class Lease:
    """Context manager around a handler; call it to report progress (it is a `work.Progress`)."""

    def __init__(
        self,
        database: Database,
        held: units.Claim,
        *,
        heartbeat_s: float,
        lease_s: float,
        drain_flag: Path,
        health_dir: Path | None = None,
    ) -> None:
        """Keep `held` by a heartbeat every `heartbeat_s` seconds; stop when `drain_flag` appears."""
        self._database, self._held = database, held
        self._sign = Sign(health_dir, "unit", lease_s)
        self._heartbeat_s, self._lease_s, self._drain_flag = heartbeat_s, lease_s, drain_flag
        self._report, self._pace = units.Report(), Pace()
        self._tokens_before = VITALS.tokens
        self._reason: InterruptedUnitError | None = None
        self._over = threading.Event()
        # A thread starts without context: its log lines too shall say which unit they are about.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._keep,), name="lease", daemon=True
        )

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._sign.end()

    def __call__(self, done: float, total: float, unit: str, note: str = "") -> None:
        """Remember progress for the next heartbeat; raise the reason to stop if there is one."""
        self._pace.add(time.monotonic(), done, total, unit)
        self._report = units.Report(done, total, unit, note, self._pace.per_s)
        self.check()

    def report(self) -> units.Report:
        """What there is to say of the attempt at this moment."""
        tokens = VITALS.tokens - self._tokens_before
        return replace(self._report, tokens=tokens, gpu_bytes=VITALS.gpu_bytes)

    def check(self) -> None:
        """Raise the reason to stop if there is one."""
        if self._reason is not None:
            raise self._reason

    def _keep(self) -> None:
        last_success = last_try = time.monotonic()
        stop_by = float("inf")
        while not self._over.wait(min(DRAIN_POLL_S, self._heartbeat_s)):
            clock = time.monotonic()
            if clock > stop_by:
                log.error("the handler did not stop within %g s: ending this process", STOP_WITHIN_S)
                os._exit(EXIT_FENCED)
            if self._reason is None and self._drain_flag.exists():
                self._reason = DrainError("the worker is shutting down")
            if (
                isinstance(self._reason, CancelledError | LeaseLostError)
                or clock < last_try + self._heartbeat_s
            ):
                continue
            last_try = clock
            self._sign.renew()
            if self._beat():
                last_success = clock
            elif clock > last_success + self._lease_s:
                self._reason = LeaseLostError(f"no heartbeat reached the database for {self._lease_s:g} s")
            if isinstance(self._reason, CancelledError | LeaseLostError):
                stop_by = clock + STOP_WITHIN_S

    def _beat(self) -> bool:
        """Send one heartbeat; False if the database did not answer."""
        try:
            with self._database.transaction() as session:
                pulse = units.heartbeat(session, self._held, self.report(), self._lease_s)
        except (UnreachableError, SQLAlchemyError) as error:
            log.warning("heartbeat failed, will try again: %s", error)
            return False
        if pulse == "cancelled":
            self._reason = CancelledError("the run was cancelled")
        elif pulse == "lost":
            self._reason = LeaseLostError("another worker may hold the unit by now")
        return True
