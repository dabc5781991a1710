"""The ledger's metrics as a process of its own, beside a deployment: `python -m arith_shared.metrics`."""

from __future__ import annotations

import signal
import sys

from arith_shared import logs
from arith_shared.errors import ArithError, UserError
from arith_shared.ledger.database import Database
from arith_shared.metrics.endpoint import serve_ledger
from arith_shared.settings import load_settings

_STOP = {signal.SIGTERM, signal.SIGINT}


def main() -> None:
    """Serve until told to stop."""
    # Before the endpoint's thread starts: one that does not wait for them would end the process with an error.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        settings = load_settings()
        if not settings.metrics_port:
            raise UserError("ARITH_METRICS_PORT: expected the port to serve on, found none; e.g. 9464")
        logs.configure(settings.log_format)
        serve_ledger(settings, Database(settings.database))
    except ArithError as error:
        sys.exit(f"arith_shared.metrics: {error}")
    signal.sigwait(_STOP)


if __name__ == "__main__":
    main()
