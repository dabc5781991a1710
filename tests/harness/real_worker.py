"""A worker with the services' own handlers, on all queues at once."""

from __future__ import annotations

from kombu import Queue

from arith_shared.job import worker_app
from arith_shared.ledger.plan import QUEUES
from harness.handlers import SERVICES

app = worker_app("probe", "harness.real_worker", SERVICES)
# One process instead of three, as with the fake one: each would load torch.
app.conf.task_queues = [Queue(name) for name in QUEUES]
