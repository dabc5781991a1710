"""The way in and out: login form, logout, and the sign of life that a container's health check asks for."""

from __future__ import annotations

import math
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from arithctl.dashboard.answers import page
from arithctl.dashboard.guard import session_of
from arithctl.dashboard.logins import SESSION_S, Logins

#: Bytes of a login form; a token is a line.
_MAX_FORM = 4096


def add_routes(app: FastAPI, logins: Logins) -> None:
    """Routes that are open to everybody, and the one that ends a session."""

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        return PlainTextResponse("ok\n")

    @app.api_route("/login", methods=["GET", "HEAD"])
    async def login_form(request: Request) -> Response:
        if logins.knows(session_of(request.headers, logins)):
            return RedirectResponse("/", status_code=303)
        return page("login.html", message="", back="/")

    @app.post("/login")
    async def login(request: Request) -> Response:
        form = await _form(request)
        back = _local(form.get("back", "/"))
        if logins.accepts(form.get("token", "").strip()):
            answer = RedirectResponse(back, status_code=303)
            answer.set_cookie(
                logins.cookie, logins.open_session(), max_age=int(SESSION_S), httponly=True, samesite="strict"
            )
            return answer
        if wait := logins.wait_s():
            message = f"Too many wrong tokens; try again in {math.ceil(wait)} s."
            again = {"Retry-After": str(math.ceil(wait))}
            return page("login.html", status=429, headers=again, message=message, back=back)
        return page("login.html", status=401, message="That is not the token.", back=back)

    @app.post("/logout")
    async def logout(request: Request) -> Response:
        logins.close_session(session_of(request.headers, logins))
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(logins.cookie, httponly=True, samesite="strict")
        return answer


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form; empty if it is larger than any of ours."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM:
                return {}
    except ClientDisconnect:
        return {}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _local(path: str) -> str:
    """The page to go back to, if it is one of ours: `//elsewhere` and `/\\elsewhere` are other machines."""
    return path if path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable() else "/"
