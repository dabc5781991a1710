"""Exposes the service's Celery app: `celery -A arith_extractor.worker worker`."""

from arith_shared.job import worker_app

app = worker_app("extract", "arith_extractor.worker", {"extract": "arith_extractor.handler:handle"})
