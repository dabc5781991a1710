"""Runs and workers as they are at this moment: the list, one run's page, its log; and the same facts as JSON.

A part of a page that changes has an address of its own, which gives just that part: the script that fetches it
again knows nothing about what is in it.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import asdict, dataclass
from typing import Any, get_args
from urllib.parse import urlencode

from fastapi import FastAPI, Query
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from arith_shared.ledger import runs, views, workers
from arith_shared.ledger.tables import RUN_OVER, Event, RunState
from arithctl.dashboard.answers import page
from arithctl.dashboard.ledger import Ledger
from arithctl.progress import describe

#: Runs on one page of the list.
_PAGE = 25
#: Events that a run's page shows; its log has all.
_TAIL = 12
#: Seconds for which a worker that has fallen silent is still listed: an operator may want to know which.
_SILENT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, for a bar and a line of text."""

    #: Mean over its stages, 0 to 1.
    fraction: float
    text: str
    eta_s: float | None


def add_routes(app: FastAPI, ledger: Ledger) -> None:
    """Everything about what goes on."""
    methods = ["GET", "HEAD"]

    @app.api_route("/", methods=methods)
    def run_list(state: str = "", recipe: str = "", number: int = Query(1, alias="page", ge=1)) -> Response:
        return page("runs.html", **_list(ledger, state, recipe, number))

    @app.api_route("/live/runs", methods=methods)
    def run_list_part(
        state: str = "", recipe: str = "", number: int = Query(1, alias="page", ge=1)
    ) -> Response:
        return page("_runs.html", **_list(ledger, state, recipe, number))

    @app.api_route("/runs.json", methods=methods)
    def run_list_json(
        state: str = "", recipe: str = "", number: int = Query(1, alias="page", ge=1)
    ) -> Response:
        return JSONResponse([row for row, _ in _list(ledger, state, recipe, number)["rows"]])

    @app.api_route("/runs/{run}.json", methods=methods)
    def run_json(run: str) -> Response:
        with ledger.reading() as session:
            view = views.run_view(session, runs.find(session, run).id)
        return JSONResponse({"run": view.id, **{k: v for k, v in asdict(view).items() if k != "id"}})

    @app.api_route("/live/runs/{run}", methods=methods)
    def run_part(run: str) -> Response:
        return page("_run.html", **run_values(ledger, run))

    @app.api_route("/runs/{run}/log", methods=methods)
    def run_log(run: str) -> Response:
        return page("log.html", **_log(ledger, run))

    @app.api_route("/workers", methods=methods)
    def worker_list() -> Response:
        return page("workers.html", rows=_workers(ledger))

    @app.api_route("/live/workers", methods=methods)
    def worker_list_part() -> Response:
        return page("_workers.html", rows=_workers(ledger))

    @app.api_route("/workers.json", methods=methods)
    def worker_list_json() -> Response:
        return JSONResponse(_workers(ledger))


def run_values(ledger: Ledger, text: str) -> dict[str, Any]:
    """What the changing part of a run's page shows."""
    with ledger.reading() as session:
        run = runs.find(session, text)
        view = views.run_view(session, run.id)
        events = views.events(session, run.id)
    return {
        "view": view,
        "stages": [(stage, _bar(stage), describe(stage)) for stage in view.stages],
        "events": _stamped(list(events)[-_TAIL:]),
        "earlier": max(0, len(events) - _TAIL),
        "over": view.state in RUN_OVER,
    }


def _list(ledger: Ledger, state: str, recipe: str, number: int) -> dict[str, Any]:
    chosen = {"state": state, "recipe": recipe}
    rows: list[tuple[dict[str, Any], Progress | None]] = []
    recipes: list[str] = []
    more = False
    if ledger.exists:
        with ledger.reading() as session:
            recipes = views.recipes(session)
            found = views.run_list(
                session, _PAGE + 1, offset=(number - 1) * _PAGE, state=state or None, recipe=recipe or None
            )
            more = len(found) > _PAGE
            rows = [(row, _progress(session, row)) for row in found[:_PAGE]]
    link = {name: value for name, value in chosen.items() if value}
    return {
        "rows": rows,
        "recipes": recipes,
        "states": get_args(RunState),
        "chosen": chosen,
        "number": number,
        "query": urlencode(link | {"page": number}),
        "newer": f"/?{urlencode(link | {'page': number - 1})}" if number > 1 else "",
        "older": f"/?{urlencode(link | {'page': number + 1})}" if more else "",
    }


def _progress(session: Session, row: dict[str, Any]) -> Progress | None:
    """Of a run that is not over; the others have come as far as they will."""
    if row["state"] in RUN_OVER:
        return None
    view = views.run_view(session, row["run"])
    open_stages = [stage for stage in view.stages if stage.state == "open"]
    return Progress(
        fraction=sum(_bar(stage) for stage in view.stages) / len(view.stages),
        text="; ".join(f"{stage.name}: {describe(stage)}" for stage in open_stages),
        eta_s=open_stages[0].eta_s if len(open_stages) == 1 else None,
    )


def _bar(stage: views.StageView) -> float:
    fraction = 1.0 if stage.state == "done" else stage.fraction
    return 0.0 if math.isnan(fraction) else min(1.0, fraction)


def _log(ledger: Ledger, text: str) -> dict[str, Any]:
    with ledger.reading() as session:
        run = runs.find(session, text)
        events = views.events(session, run.id)
        failures = [
            {"what": f"{stage}/{key}, attempt {attempt.number}, on {attempt.host}", "error": attempt.error}
            for attempt, stage, key in views.failures(session, run.id)
        ]
    return {"run": run.id, "events": _stamped(list(events)), "failures": failures}


def _stamped(events: list[Event]) -> list[dict[str, str]]:
    return [
        {
            "at": f"{datetime.datetime.fromtimestamp(event.at, datetime.UTC):%Y-%m-%d %H:%M:%S}",
            "kind": event.kind,
            "message": event.message,
        }
        for event in events
    ]


def _workers(ledger: Ledger) -> list[dict[str, Any]]:
    if not ledger.exists:
        return []
    with ledger.reading() as session:
        found = workers.alive(session, _SILENT_S)
        return [
            {
                "worker": worker.id,
                "queue": worker.queue,
                "host": worker.host,
                "pid": worker.pid,
                "device": worker.device,
                "state": _state(worker.draining, unit is not None, age),
                "run": unit.run_id if unit else None,
                "unit": f"{unit.stage}/{unit.key}" if unit else None,
                "seen_s": round(age, 1),
            }
            for worker, unit, age in found
        ]


def _state(draining: bool, has_unit: bool, age_s: float) -> str:
    if age_s > workers.ALIVE_S:
        return "silent"
    return "stopping" if draining else ("busy" if has_unit else "idle")
