"""The reconciler as a service: `celery -A arith_shared.scheduler beat --pidfile=`.

`ledger/reconcile.py` says what a tick does. The service needs the database and, only for sending, the broker; it
keeps ticking while either is away, and several may run.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from arith_shared import logs, queue
from arith_shared.health import Sign
from arith_shared.ledger import reconcile
from arith_shared.ledger.database import Database
from arith_shared.metrics import endpoint
from arith_shared.settings import Settings, load_settings

if TYPE_CHECKING:
    from celery import Celery

#: Seconds; a tick ends sooner, even one that waits for a database and a broker that are both away.
SILENT_S = 90.0

log = logging.getLogger(__name__)


def scheduler_app(settings: Settings) -> Celery:
    """The Celery app of the scheduler service."""
    database, sender = Database(settings.database), queue.Sender(settings.broker)
    sign = Sign(settings.health_dir, "scheduler", SILENT_S)

    def tick() -> None:
        try:
            reconcile.tick(database, sender, resend_s=settings.resend_s, retry_s=settings.retry_s)
        except Exception as error:  # noqa: BLE001 - a scheduler must outlive a restarted database
            log.warning("this tick did nothing, will try again: %s", error)
        sign.renew()

    def start() -> None:
        if settings.insecure:
            log.warning("%s", settings.insecure)
        endpoint.if_possible(endpoint.serve_ledger, settings, database)

    queue.on_logging_setup(partial(logs.configure, settings.log_format))
    queue.on_scheduler_start(start)
    return queue.make_scheduler_app(settings.broker, tick, settings.tick_s)


app = scheduler_app(load_settings())
