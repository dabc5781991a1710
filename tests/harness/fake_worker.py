"""A worker module as the services have them, with work that takes milliseconds, on all queues at once."""

from __future__ import annotations

import os
import time

from kombu import Queue

from arith_shared.job import worker_app
from arith_shared.ledger.plan import QUEUES, STAGES

#: Seconds by which this worker's clock is wrong.
CLOCK_OFF = "ARITH_TEST_CLOCK_OFF"

#: Seconds that this module takes to be imported besides its own, as on a busy machine.
SLOW_START = "ARITH_TEST_SLOW_START"

time.sleep(float(os.environ.get(SLOW_START, "0")))
if CLOCK_OFF in os.environ:
    _right_time = time.time
    time.time = lambda: _right_time() + float(os.environ[CLOCK_OFF])

app = worker_app("probe", "harness.fake_worker", dict.fromkeys(STAGES, "arith_shared.testing:fake_handler"))
# One process instead of three: starting a worker is what costs most in these tests.
app.conf.task_queues = [Queue(name) for name in QUEUES]
