"""A worker module as the services have them, with work that takes milliseconds, on all queues at once."""

from __future__ import annotations

import os
import time

from kombu import Queue

from arith_shared.job import worker_app
from arith_shared.ledger.plan import QUEUES
from harness.handlers import FAKE, handlers

#: Seconds by which this worker's clock is wrong.
CLOCK_OFF = "ARITH_TEST_CLOCK_OFF"
#: The handler of the train stage, if it is not the double.
TRAINER = "ARITH_TEST_TRAINER"
#: Seconds after which this worker hands out messages again that another took and never acknowledged.
REDELIVER = "ARITH_TEST_REDELIVER"
#: Seconds that this module takes to be imported besides its own, as on a busy machine.
SLOW_START = "ARITH_TEST_SLOW_START"

time.sleep(float(os.environ.get(SLOW_START, "0")))
if CLOCK_OFF in os.environ:
    _right_time = time.time
    time.time = lambda: _right_time() + float(os.environ[CLOCK_OFF])

app = worker_app("probe", "harness.fake_worker", handlers(os.environ.get(TRAINER, FAKE)))
# One process instead of three: starting a worker is what costs most in these tests.
app.conf.task_queues = [Queue(name) for name in QUEUES]
if REDELIVER in os.environ:
    app.conf.broker_transport_options |= {
        "visibility_timeout": float(os.environ[REDELIVER]),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
