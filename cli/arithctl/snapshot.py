"""What a live view shows at one moment: runs, the stages of those that are worked on, workers, last events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from arith_shared.ledger import groups, views, workers
from arith_shared.ledger.groups import Overview
from arith_shared.ledger.tables import RUN_OVER, Event
from arithctl.forecast.actual import forecast_s

#: Runs whose stages are looked at, of several.
_FOCUS = 2
#: Events that are looked at.
_EVENTS = 6


@dataclass(frozen=True, slots=True)
class WorkerNow:
    """A live worker and what it does; `unit` is None while it is idle."""

    id: str
    queue: str
    device: str
    run: str | None
    unit: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Plain values of one moment; `focus` are the runs whose stages are shown: one that is alone, or some at work."""

    runs: Sequence[Overview]
    focus: Sequence[views.RunView]
    workers: Sequence[WorkerNow]
    events: Sequence[Event]
    #: Seconds forecast at submission, by run and stage, of runs in `focus` that have a forecast.
    forecast_s: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return all(run.state in RUN_OVER for run in self.runs)


def take(session: Session, run_ids: Sequence[str], forecasts: dict[str, dict[str, float]]) -> Snapshot:
    """Look at runs: a few queries, however many runs there are.

    `forecasts` remembers what was forecast, by run and stage, from one look to the next: it never changes.
    """
    runs = groups.overview(session, run_ids)
    alive = [
        WorkerNow(
            worker.id,
            worker.queue,
            worker.device or "",
            unit.run_id if unit else None,
            f"{unit.stage}/{unit.key}" if unit else None,
        )
        for worker, unit, _ in workers.alive(session)
    ]
    at_work = {worker.run for worker in alive}
    active = [run for run in runs if run.state not in RUN_OVER]
    active.sort(key=lambda run: run.run not in at_work)
    focus = [run.run for run in (runs if len(runs) == 1 else active[:_FOCUS])]
    for run_id in focus:
        if run_id not in forecasts:
            forecasts[run_id] = forecast_s(session, run_id)
    return Snapshot(
        runs,
        [views.run_view(session, run) for run in focus],
        alive,
        views.last_events(session, run_ids, _EVENTS),
        {(run, stage): seconds for run in focus for stage, seconds in forecasts[run].items()},
    )
