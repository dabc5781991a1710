"""The reconciler as a process of its own, so that it can be killed."""

from __future__ import annotations

import logging
import time

from arith_shared import queue
from arith_shared.ledger import reconcile
from arith_shared.ledger.database import Database
from arith_shared.settings import load_settings


def main() -> None:
    """Tick for ever, whatever happens."""
    settings = load_settings()
    database, sender = Database(settings.database), queue.Sender(settings.broker)
    while True:
        try:
            reconcile.tick(database, sender, resend_s=settings.resend_s, retry_s=settings.retry_s)
        except Exception:
            logging.exception("reconciler")
        time.sleep(settings.tick_s)


if __name__ == "__main__":
    main()
