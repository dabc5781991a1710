"""The HTTP endpoint `/metrics`, where ARITH_METRICS_PORT asks for one."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from arith_shared.errors import ArithError, MissingExtraError, UserError
from arith_shared.ledger.database import Database
from arith_shared.settings import Settings

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

log = logging.getLogger(__name__)


def serve_ledger(settings: Settings, database: Database) -> None:
    """Expose the facts of the whole deployment from a thread; does nothing unless a port is set.

    Raises MissingExtraError without prometheus-client, and UserError if the address cannot be bound.
    """
    if settings.metrics_port:
        _require_client()
        from arith_shared.metrics.ledger import LedgerMetrics

        _serve(settings, settings.metrics_port, LedgerMetrics(database))


def serve_worker(settings: Settings, database: Database, worker_id: str, stages: Sequence[str]) -> None:
    """Expose the facts of one worker from a thread; does nothing unless a port is set. Raises as `serve_ledger`."""
    if settings.metrics_port:
        _require_client()
        from arith_shared.metrics.worker import WorkerMetrics

        _serve(settings, settings.metrics_port, WorkerMetrics(database, worker_id, stages))


def if_possible(serve: Callable[..., None], *arguments: Any) -> None:
    """Call one of the above, or log why it cannot be: being watched is no condition of working."""
    try:
        serve(*arguments)
    except ArithError as error:
        log.error("no metrics: %s", error)


def _require_client() -> None:
    if importlib.util.find_spec("prometheus_client") is None:
        raise MissingExtraError(
            "ARITH_METRICS_PORT is set, but prometheus-client is not installed: pip install 'arithctl[metrics]'"
        )


def _serve(settings: Settings, port: int, collector: Collector) -> None:
    from prometheus_client import (
        CollectorRegistry,
        ProcessCollector,
        disable_created_metrics,
        start_http_server,
    )

    disable_created_metrics()  # type: ignore[no-untyped-call]
    # Describing a collector is a first look: what ends from now on is counted.
    registry = CollectorRegistry(auto_describe=True)
    registry.register(collector)
    ProcessCollector(registry=registry)
    try:
        start_http_server(port, settings.metrics_host, registry)
    except OSError as error:
        raise UserError(
            f"ARITH_METRICS_HOST={settings.metrics_host}, ARITH_METRICS_PORT={port}: {error}; "
            "each process of a machine needs a port of its own"
        ) from error
    log.info("metrics on http://%s:%d/metrics", settings.metrics_host, port)
