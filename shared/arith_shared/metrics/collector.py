"""What both kinds of metrics share: one look into the database per scrape, and what to say when it fails."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from arith_shared.errors import UnreachableError
from arith_shared.ledger.database import Database

log = logging.getLogger(__name__)


class DatabaseCollector(Collector, ABC):
    """Gauges as they are at the scrape, and counters that keep their value while the database is away."""

    def __init__(self, database: Database, counters: Sequence[MetricWrapperBase]) -> None:
        """`counters` are those that `look` adds to."""
        self._database, self._counters = database, counters
        # Prometheus and a person may ask at the same moment, and what is new must be counted once.
        self._lock = threading.Lock()

    @abstractmethod
    def look(self, session: Session) -> Sequence[Metric]:
        """Gauges of this moment; adds to the counters what is new."""

    def collect(self) -> Iterable[Metric]:
        """All metrics."""
        with self._lock:
            try:
                with self._database.reading() as session:
                    gauges = self.look(session)
            except (UnreachableError, SQLAlchemyError) as error:
                log.warning("no metrics from the database: %s", error)
                gauges = []
            counted = [metric for counter in self._counters for metric in counter.collect()]
        up = GaugeMetricFamily("arith_database_up", "Whether the database answered this scrape.")
        up.add_metric([], float(bool(gauges)))
        return [up, *gauges, *counted]


def gauge(name: str, meaning: str, values: dict[tuple[str, ...], float], *labels: str) -> GaugeMetricFamily:
    """A gauge with a value for each combination of `labels`."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
