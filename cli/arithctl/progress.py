"""Watching runs: a live view on a terminal, a line per change of note otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from sqlalchemy.orm import Session

from arith_shared.ledger import views
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import RUN_OVER
from arithctl.live import frame
from arithctl.output import human_duration, human_rate
from arithctl.snapshot import Snapshot, take

#: Seconds between looks at the database: a few small queries each.
_POLL_S = 0.5
#: Seconds between lines for a stage that goes on without finishing a unit, where there is no terminal.
_LINE_EVERY_S = 10.0


def watch(
    database: Database,
    wanted: Callable[[Session], Sequence[str]],
    console: Console,
    each_poll: Callable[[], None],
    *,
    title: str = "",
) -> Snapshot:
    """Show the runs whose ids `wanted` gives until all are over; returns the last look at them.

    `title` names them where they are several; `each_poll` is called between looks.
    """
    forecasts: dict[str, dict[str, float]] = {}
    show = _View(console, title) if console.is_terminal else _Lines(console, several=bool(title))
    with show:
        while True:
            with database.reading() as session:
                snapshot = take(session, wanted(session), forecasts)
            show.update(snapshot)
            if snapshot.is_over:
                return snapshot
            each_poll()
            time.sleep(_POLL_S)


def describe(stage: views.StageView) -> str:
    """What a stage is doing, in one line: units, progress of the running one, rate, time."""
    if stage.state == "waiting":
        return "waiting"
    parts = [f"{stage.done}/{stage.total} units"]
    if stage.reused:
        parts.append(f"{stage.reused} reused")
    if stage.failed:
        parts.append(f"{stage.failed} failed")
    if stage.running:
        parts += [stage.progress, human_rate(stage.rate, stage.rate_unit) if stage.rate else "", stage.note]
    elif stage.state == "open" and not stage.workers:
        parts.append("waiting for a worker")
    if stage.eta_s is not None:
        parts.append(f"ETA {human_duration(stage.eta_s)}")
    elif stage.state == "done":
        parts.append(f"took {human_duration(stage.elapsed_s)}")
    return ", ".join(part for part in parts if part)


class _View:
    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        self._live.update(frame(snapshot, self._title, self._console), refresh=True)


class _Lines:
    def __init__(self, console: Console, *, several: bool = False) -> None:
        self._console, self._several = console, several
        self._last: dict[tuple[str, str], tuple[str, int]] = {}
        self._next: dict[tuple[str, str], float] = {}
        self._unfinished: set[str] = set()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, snapshot: Snapshot) -> None:
        for view in snapshot.focus:
            for stage in view.stages:
                if stage.state != "waiting":
                    self._stage(view.id, stage)
        for run in snapshot.runs if self._several else ():
            if run.state not in RUN_OVER:
                self._unfinished.add(run.run)
            elif run.run in self._unfinished:
                self._unfinished.remove(run.run)
                took = human_duration(run.elapsed_s)
                self._print(f"{run.run} {run.state:<7} {run.done}/{run.total} units, took {took}")

    def _stage(self, run: str, stage: views.StageView) -> None:
        place, now, state = (run, stage.name), time.monotonic(), (stage.state, stage.failed)
        if self._last.get(place) == state and (now < self._next[place] or stage.state != "open"):
            return
        self._last[place], self._next[place] = state, now + _LINE_EVERY_S
        prefix = f"{run} " if self._several else ""
        self._print(f"{prefix}{stage.name:<10} {stage.state:<7} {describe(stage)}")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)
