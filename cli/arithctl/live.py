"""A snapshot as lines for a terminal: nothing wider than it is, and the least important left out where it is low."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console, Group
from rich.text import Text

from arith_shared.analysis.sweep import words
from arith_shared.ledger.groups import Overview, state_of
from arith_shared.ledger.tables import RUN_OVER
from arith_shared.ledger.views import RunView, StageView
from arithctl.output import human_duration, human_rate
from arithctl.snapshot import Snapshot, WorkerNow

#: Columns of a bar.
_BAR = 20
#: Lines of runs, and of workers at work, at most.
_RUNS, _WORKERS = 8, 6
#: Lines of events that are shown even on a low terminal.
_FEWEST_EVENTS = 2
_STYLE = {"done": "green", "failed": "red", "cancelled": "yellow", "cancelling": "yellow", "waiting": "dim"}


def frame(snapshot: Snapshot, title: str, console: Console) -> Group:
    """Everything of a moment; `title` names what is watched if that is several runs."""
    width, height = console.size.width - 1, console.size.height - 1
    unicode = console.encoding.lower().startswith("utf")
    bars = "━─" if unicode else "#-"
    lines = _runs(snapshot, title, bars) if title else []
    for view in snapshot.focus:
        lines += [*([Text()] if lines else []), *_run(view, bars, snapshot.forecast_s)]
    at_work = _workers(snapshot.workers, alone=not title)
    events = _events(snapshot, alone=not title)
    room = max(_FEWEST_EVENTS, height - len(lines) - len(at_work) - 3)
    lines += [Text(), *at_work, Text(), Text("events", "bold"), *events[-room:]]
    for line in lines:
        line.no_wrap = True
        if not unicode:
            line.plain = line.plain.encode(console.encoding, "replace").decode(console.encoding)
        line.truncate(width, overflow="ellipsis" if unicode else "crop")
    return Group(*lines)


def _runs(snapshot: Snapshot, title: str, bars: str) -> list[Text]:
    """A line per run, those that are not over first."""
    states = Counter(run.state for run in snapshot.runs)
    summary = ", ".join(f"{count} {state}" for state, count in states.items())
    lines = [
        Text.assemble((title, "bold"), f": {state_of(states.keys())}, {len(snapshot.runs)} runs ({summary})")
    ]
    ordered = sorted(snapshot.runs, key=lambda run: run.state in RUN_OVER)
    lines += [_overview(run, bars) for run in ordered[:_RUNS]]
    if len(ordered) > _RUNS:
        lines.append(Text(f"  ... and {len(ordered) - _RUNS} more", "dim"))
    return lines


def _overview(run: Overview, bars: str) -> Text:
    share = run.done / run.total if run.total else 0.0
    bar = _bar(1.0 if run.state == "done" else share, bars, run.state, _BAR // 2)
    return Text.assemble(
        f"  {run.run:<25} ", bar, f" {run.done:>4}/{run.total:<4} ", (f"{run.state:<10} ", _STYLE.get(run.state, "")),
        words(run.swept),
    )  # fmt: skip


def _run(view: RunView, bars: str, forecast_s: Mapping[tuple[str, str], float]) -> list[Text]:
    note = f" ({view.name})" if view.name else ""
    head = Text.assemble((view.id, "bold"), note, ": ", (view.state, _STYLE.get(view.state, "bold")))
    lines = [head.append(f", {human_duration(view.elapsed_s)}")]
    for stage in view.stages:
        lines.append(_stage(stage, bars, forecast_s.get((view.id, stage.name))))
        if stage.state == "open" and (detail := _detail(stage)):
            lines.append(Text(f"{'':<11}{detail}", "dim"))
    if view.error:
        lines.append(Text(f"error: {view.error}", "red"))
    elif view.last_error and view.state != "done":
        lines.append(Text(f"last error: {view.last_error}", "red"))
    return lines


def _stage(stage: StageView, bars: str, forecast_s: float | None) -> Text:
    forecast = f"forecast {human_duration(forecast_s)}" if forecast_s is not None else ""
    if stage.state == "waiting":
        return Text(f"{stage.name:<10} {bars[1] * _BAR}  waiting {forecast}".rstrip(), "dim")
    share = 1.0 if stage.state == "done" else stage.fraction
    rate = human_rate(stage.rate, stage.rate_unit) if stage.rate else ""
    if stage.eta_s is not None:
        when = f"ETA {human_duration(stage.eta_s)}"
    elif stage.state == "open":
        when = f"for {human_duration(stage.elapsed_s)}"
    else:
        when = f"took {human_duration(stage.elapsed_s)}"
    units = f"{stage.done}/{stage.total}"
    return Text.assemble(
        f"{stage.name:<10} ",
        _bar(share, bars, stage.state),
        f" {share:>4.0%} {units:>7}  {rate:<18} ",
        when,
        (f", {forecast}" if forecast else "", "dim"),
    )


def _detail(stage: StageView) -> str:
    """What the open stage does just now, and what went wrong in it."""
    parts = [stage.progress, stage.note]
    if stage.running > 1:
        parts.append(f"{stage.running} running")
    if stage.device:
        parts.append(f"on {stage.device}")
    if stage.reused:
        parts.append(f"{stage.reused} reused")
    if stage.failed:
        parts.append(f"{stage.failed} failed")
    if not stage.running and not stage.workers:
        parts.append("waiting for a worker")
    return ", ".join(filter(None, parts))


def _bar(share: float, signs: str, state: str, columns: int = _BAR) -> Text:
    filled = round(columns * min(1.0, share))
    return Text.assemble(
        (signs[0] * filled, _STYLE.get(state, "cyan")), (signs[1] * (columns - filled), "dim")
    )


def _workers(workers: Sequence[WorkerNow], *, alone: bool) -> list[Text]:
    """A line per worker at work, one for all that are idle."""
    busy = [worker for worker in workers if worker.unit]
    idle = Counter(worker.queue for worker in workers if not worker.unit)
    lines = [Text("workers", "bold")]
    for worker in busy[:_WORKERS]:
        unit = worker.unit if alone else f"{worker.run} {worker.unit}"
        lines.append(Text(f"  {worker.id[-18:]:<18} {worker.device[:18]:<6} {unit}"))
    if len(busy) > _WORKERS:
        lines.append(Text(f"  ... and {len(busy) - _WORKERS} more at work", "dim"))
    if idle:
        lines.append(Text("  idle: " + ", ".join(f"{count} {queue}" for queue, count in idle.items()), "dim"))
    if not workers:
        lines.append(Text("  none is alive", "dim"))
    return lines


def _events(snapshot: Snapshot, *, alone: bool) -> list[Text]:
    lines = []
    for event in snapshot.events:
        at = datetime.datetime.fromtimestamp(event.at, datetime.UTC)
        run = "" if alone else f"{event.run_id} "
        lines.append(
            Text(f"  {at:%H:%M:%S}Z  {run}{event.kind}  {event.message}".rstrip().replace("\n", " "))
        )
    return lines
