"""What takes seconds to make is kept in memory for as long as the rows behind it stay as they are."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arith_shared.ledger.tables import Run, Score, Stage, Summary

Thing = TypeVar("Thing")
Stamp = tuple[object, ...]


class Kept(Generic[Thing]):
    """The things that were asked for last; made one at a time, so it may stand before what no two threads may use."""

    def __init__(self, limit: int) -> None:
        """Keeps up to `limit` of them."""
        self._limit = limit
        self._lock = threading.Lock()
        self._things: OrderedDict[Stamp, Thing] = OrderedDict()

    def get(self, stamp: Stamp, make: Callable[[], Thing]) -> Thing:
        """The thing with this stamp, made now if there is none."""
        with self._lock:
            if stamp not in self._things:
                self._things[stamp] = make()
            self._things.move_to_end(stamp)
            while len(self._things) > self._limit:
                self._things.popitem(last=False)
            return self._things[stamp]


def stamp(session: Session, runs: Iterable[Run]) -> Stamp:
    """How far runs are and who wrote their rows: a unit that is done again writes under a new attempt."""
    return tuple(_stamp(session, run) for run in runs)


def _stamp(session: Session, run: Run) -> Stamp:
    done = session.scalar(select(func.sum(Stage.done)).where(Stage.run_id == run.id))
    rows: list[object] = []
    for table in (Score, Summary):
        query = select(func.count(), func.sum(table.unit_id), func.sum(table.attempt))
        rows += session.execute(query.where(table.run_id == run.id)).one()
    return (run.id, run.name, run.state, done, *rows)
