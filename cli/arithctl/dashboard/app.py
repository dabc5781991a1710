"""The application: routes inside the guard, and errors as answers instead of tracebacks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from arith_shared.errors import (
    ArithError,
    ArtifactError,
    MissingExtraError,
    RunNotFoundError,
    UnreachableError,
    UserError,
)
from arith_shared.settings import Settings
from arithctl import report
from arithctl.dashboard import comparing, entry, live, results
from arithctl.dashboard.answers import HERE, refusal
from arithctl.dashboard.drawing import Drawings
from arithctl.dashboard.guard import Guard
from arithctl.dashboard.ledger import Ledger
from arithctl.dashboard.logins import Logins
from arithctl.dashboard.reports import Reports

log = logging.getLogger(__name__)

#: What an error of ours is as an HTTP status; the first that fits.
_STATUS: tuple[tuple[type[ArithError], int], ...] = (
    (RunNotFoundError, 404),
    (ArtifactError, 404),
    (MissingExtraError, 501),
    (UnreachableError, 503),
    (UserError, 400),
    (ArithError, 500),
)


def application(settings: Settings, token: str) -> ASGIApp:
    """The whole dashboard behind its login; opens the database when the first page is asked for."""
    ledger, logins = Ledger(settings), Logins(token)
    app = routes(ledger, logins)
    return Guard(app, logins)


def routes(ledger: Ledger, logins: Logins) -> FastAPI:
    """All routes without the guard. FastAPI's own pages about them are off: they load scripts from elsewhere."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        ledger.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    entry.add_routes(app, logins)
    live.add_routes(app, ledger)
    reports = Reports(ledger)
    drawings = Drawings(ledger, reports)
    results.add_routes(app, ledger, reports, drawings)
    comparing.add_routes(app, ledger, reports, drawings)

    @app.api_route("/static/report/{name}", methods=["GET", "HEAD"])
    def asset(name: str) -> Response:
        if name not in report.ASSETS:
            raise HTTPException(404)
        return FileResponse(report.ASSETS[name])

    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_exception_handler(ArithError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_bad_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_defect)
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    return refusal(request.scope, status, str(error))


async def _on_bad_request(request: Request, error: Exception) -> Response:
    return refusal(request.scope, 404, "There is no such page; the list of runs links to all that there are.")


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    message = "There is no such page." if error.status_code == 404 else str(error.detail)
    return refusal(request.scope, error.status_code, message, error.headers)


async def _on_defect(request: Request, error: Exception) -> Response:
    log.error("%s: %s", request.url.path, error, exc_info=error)
    return refusal(request.scope, 500, "That is a defect of the dashboard; its log has the traceback.")
