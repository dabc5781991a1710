"""Messages: the only file that knows Celery.

Celery delivers, isolates and kills; it decides nothing. A message is `(unit_id, attempt)`, and the database
decides whether it still means something, so it may come twice, late or never. What Celery offers beyond that
(results, canvas, retries, countdowns, events, priorities) keeps its state in the broker and is left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps, signals
from celery.app.log import Logging
from celery.beat import Scheduler
from kombu import Queue
from kombu.exceptions import OperationalError

from arith_shared.errors import BrokerFullError, UnreachableError
from arith_shared.ledger.plan import QUEUES
from arith_shared.ledger.reconcile import Message

TASK = "arith.run_unit"

#: Seconds; above the longest unit, or Redis would hand a running unit's message to a second worker.
VISIBILITY_TIMEOUT_S = 24 * 3600
#: Seconds before a silent broker counts as gone.
BROKER_TIMEOUT_S = 5
#: Seconds that a worker waits at a socket; above the ten that Celery asks the broker to wait for a message.
POLL_TIMEOUT_S = 15
#: Seconds between two looks at whether a connection still answers: one that has fallen silent is noticed within
#: twice that, and given up within `POLL_TIMEOUT_S` more.
HEALTH_CHECK_S = 10
#: Seconds that a new pool child has to come up; a fresh interpreter on a busy machine takes many, and Celery's own
#: four would kill it, and each that follows, for ever.
CHILD_UP_WITHIN_S = 120.0
#: How Redis and Valkey begin their answer to everything, even a ping, while they cannot write their log.
_CANNOT_WRITE = "MISCONF"
#: Units per pool child: a trainer's child ends with its unit and frees the device; probers stay warm.
UNITS_PER_CHILD = {"train": 1, "extract": 50, "probe": 200}


class _Logging(Logging):  # type: ignore[misc] # Celery carries no types
    """Celery's, which asks `on_logging_setup` for all handlers, and without one in text for pool children."""

    def setup_logging_subsystem(self, *args: Any, **options: Any) -> Any:
        receivers = super().setup_logging_subsystem(*args, **options)
        os.environ.pop("_MP_FORK_LOGLEVEL_", None)
        return receivers


def make_app(broker_url: str, *, queue: str | None = None, include: str | None = None) -> Celery:
    """A Celery app on `broker_url`; with `queue` and `include` (a module) it is a worker's, else a sender's."""
    app = Celery("arith", broker=broker_url, log=_Logging, set_as_current=queue is not None)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=BROKER_TIMEOUT_S,
        broker_transport_options={
            "global_keyprefix": "arith.",
            "health_check_interval": HEALTH_CHECK_S,
            "socket_connect_timeout": BROKER_TIMEOUT_S,
            # A worker waits at the socket for its next message; a sender waits for an answer only.
            "socket_timeout": POLL_TIMEOUT_S if queue else BROKER_TIMEOUT_S,
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
        },
        include=[include] if include else [],
        result_backend=None,
        task_acks_late=True,
        task_create_missing_queues=False,
        task_default_queue=queue or QUEUES[0],
        task_ignore_result=True,
        task_queues=[Queue(name) for name in ([queue] if queue else QUEUES)],
        # The database re-queues a unit whose worker died; a message that came back as well would be stale.
        task_reject_on_worker_lost=False,
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0.1, "interval_max": 1},
        task_serializer="json",
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_concurrency=1,
        worker_hijack_root_logger=False,
        worker_max_tasks_per_child=UNITS_PER_CHILD.get(queue or ""),
        worker_pool="prefork",
        # CUDA does not survive a fork, and a fresh interpreter shares no state with its parent.
        worker_pool_start_method="spawn",
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=CHILD_UP_WITHIN_S,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
    )
    return app


def register(app: Celery, body: Callable[[int, int], None]) -> None:
    """Make `body(unit_id, attempt)` what a worker of `app` does with a message."""

    @app.task(name=TASK)
    def run_unit(unit_id: int, attempt: int) -> None:
        if not (isinstance(unit_id, int) and isinstance(attempt, int)):
            raise TypeError(f"expected two integers, found {unit_id!r} and {attempt!r}")
        body(unit_id, attempt)


def on_worker_life(
    start: Callable[[], None], stopping: Callable[[], None], stopped: Callable[[], None]
) -> None:
    """Call `start` once the worker consumes, `stopping` when it is told to end while its unit still runs, and
    `stopped` when it has none any more.
    """
    signals.worker_ready.connect(lambda **_: start(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: stopping(), weak=False)
    signals.worker_shutdown.connect(lambda **_: stopped(), weak=False)


def on_child_start(app: Celery, start: Callable[[], None]) -> None:
    """Call `start` in each pool child that lives on after its first unit; the others are about to have one."""
    if app.conf.worker_max_tasks_per_child != 1:
        signals.worker_process_init.connect(lambda **_: start(), weak=False)


def on_logging_setup(configure: Callable[[], None]) -> None:
    """Set logging up our way, in the worker and in its pool child alike."""
    signals.setup_logging.connect(lambda **_: configure(), weak=False)


def on_consumer_beat(app: Celery, beat: Callable[[], None], every_s: float) -> None:
    """Call `beat` from the loop of the worker's consumer: a loop that hangs, or has no broker, calls it no more."""

    class Beat(bootsteps.StartStopStep):  # type: ignore[misc] # Celery carries no types
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            # Once per connection: Celery clears its timers with each one that it loses.
            consumer.timer.call_repeatedly(every_s, beat)

    app.steps["consumer"].add(Beat)


def on_scheduler_start(start: Callable[[], None]) -> None:
    """Call `start` once the scheduler's logs are set up."""
    signals.beat_init.connect(lambda **_: start(), weak=False)


def make_scheduler_app(broker_url: str, tick: Callable[[], None], every_s: float) -> Celery:
    """An app whose `celery beat` does nothing but call `tick` every `every_s` seconds; it sends no message itself."""

    class Ticker(Scheduler):  # type: ignore[misc] # Celery carries no types
        def setup_schedule(self) -> None:
            self.schedule: dict[str, Any] = {}

        def tick(self, *_: Any, **__: Any) -> float:
            tick()
            return every_s

    app = make_app(broker_url)
    app.conf.beat_scheduler = Ticker
    return app


class Sender:
    """Sends messages by task name, so that sending needs no code of the workers."""

    def __init__(self, broker_url: str) -> None:
        """Connect on first use to `broker_url`."""
        #: The broker's address without user and password.
        self.where = re.sub(r"^(rediss?://).*@", r"\1", broker_url)
        self._app = make_app(broker_url)

    def __call__(self, message: Message) -> None:
        """Send one message; raise UnreachableError if the broker does not take it."""
        try:
            self._app.send_task(
                TASK,
                args=[message.unit_id, message.attempt],
                queue=message.queue,
                task_id=f"{message.unit_id}-{message.attempt}",
            )
        except (OperationalError, OSError) as error:
            raise UnreachableError(f"broker {self.where}: {error}") from error

    def ping(self) -> None:
        """Raise UnreachableError unless the broker answers, BrokerFullError if it says that its own disk is full."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT_S)
        except (OperationalError, OSError) as error:
            if _CANNOT_WRITE in str(error):
                raise BrokerFullError(f"broker {self.where} takes no messages: {error}") from error
            raise UnreachableError(f"broker {self.where} does not answer: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self._app.close()


def worker_arguments(module: str, queue: str, name: str) -> list[str]:
    """Arguments of `python -m celery` that start a worker of `module` on `queue` under a node name."""
    options: dict[str, Any] = {"--queues": queue, "--hostname": f"{name}@%h", "--loglevel": "INFO"}
    flags = [f"{option}={value}" for option, value in options.items()]
    return ["-A", module, "worker", "--without-gossip", "--without-mingle", "--without-heartbeat", *flags]


#: Arguments of `python -m celery` that start the scheduler; it keeps no file.
SCHEDULER_ARGUMENTS = ("--quiet", "--app=arith_shared.scheduler", "beat", "--pidfile=", "--loglevel=INFO")
