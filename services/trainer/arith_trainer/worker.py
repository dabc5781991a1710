"""Exposes the service's Celery app: `celery -A arith_trainer.worker worker`."""

from arith_shared.job import worker_app

app = worker_app("train", "arith_trainer.worker", {"train": "arith_trainer.handler:handle"})
