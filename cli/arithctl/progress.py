"""Live progress of one run: bars on a terminal, a line per change of note otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from arith_shared.ledger import views
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import RUN_OVER
from arithctl.output import human_duration, human_rate

#: Seconds between looks at the database: two small queries each.
_POLL_S = 0.5
#: Seconds between lines for a stage that goes on without finishing a unit, where there is no terminal.
_LINE_EVERY_S = 10.0


def watch(database: Database, run_id: str, console: Console, each_poll: Callable[[], None]) -> views.RunView:
    """Show the run until it is over; `each_poll` is called between looks. Returns its last state."""
    show = _Bars(console) if console.is_terminal else _Lines(console)
    with show:
        while True:
            with database.reading() as session:
                view = views.run_view(session, run_id)
            show.update(view)
            if view.state in RUN_OVER:
                return view
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


class _Bars:
    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<10}"), BarColumn(bar_width=24), TextColumn("{task.fields[line]}"),
            console=console,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, view: views.RunView) -> None:
        for stage in view.stages:
            if stage.name not in self._tasks:
                self._tasks[stage.name] = self._progress.add_task(stage.name, total=1.0, line="")
            done = 1.0 if stage.state == "done" else stage.fraction
            self._progress.update(self._tasks[stage.name], completed=done, line=describe(stage))


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: dict[str, tuple[str, int]] = {}
        self._next: dict[str, float] = {}

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, view: views.RunView) -> None:
        for stage in view.stages:
            if stage.state == "waiting":
                continue
            now, state = time.monotonic(), (stage.state, stage.failed)
            if self._last.get(stage.name) == state and now < self._next[stage.name]:
                continue
            if self._last.get(stage.name) == state and stage.state != "open":
                continue
            self._last[stage.name], self._next[stage.name] = state, now + _LINE_EVERY_S
            self._console.print(
                f"{stage.name:<10} {stage.state:<7} {describe(stage)}", highlight=False, soft_wrap=True
            )
