"""Exposes the service's Celery app: `celery -A arith_prober.worker worker`."""

from arith_shared.job import worker_app

HANDLER = "arith_prober.handler:handle"

app = worker_app("probe", "arith_prober.worker", {"probe": HANDLER, "summarize": HANDLER})
