"""What every request passes before a page is made, and every answer on its way out.

In this order: the Host header must name this machine (a stranger's page whose name was pointed at 127.0.0.1 gets
nothing), the method must be one that reads, and without a session or the token there is only the login.
"""

from __future__ import annotations

import math
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arithctl.dashboard.answers import refusal
from arithctl.dashboard.logins import Logins

#: Names under which a browser on this machine, or at the end of a tunnel to it, comes.
HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
#: What can be seen without the token: the way in, what it looks like, and whether the server lives.
OPEN = frozenset({"/login", "/health"})
STATIC = "/static/"
#: The only requests that are not mere reading.
POSTS = frozenset({"/login", "/logout"})

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, logins: Logins) -> None:
        """`logins` decides who is known."""
        self._app, self._logins = app, logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on; and set the headers of the answer either way."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(STATIC):
                    # Kept by the browser for the next page, which asks whether it has changed.
                    headers["Cache-Control"] = "private, no-cache"
            await send(message)

        refused = self._refusal(scope)
        await (refused or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        if _host(headers.get("host", "")) not in HOSTS:
            return refusal(scope, 400, "This page is served as 127.0.0.1 and localhost only.")
        if method not in ("GET", "HEAD") and not (method == "POST" and path in POSTS):
            return refusal(scope, 405, "Nothing can be changed here.", {"Allow": "GET, HEAD"})
        if method == "POST" and not _same_origin(headers):
            return refusal(scope, 403, "This form was sent by another page.")
        if path in OPEN or path.startswith(STATIC):
            return None
        return self._stranger(scope, headers)

    def _stranger(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        if self._logins.knows(session_of(headers, self._logins)):
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if self._logins.accepts(token.strip()):
                return None
            if wait := self._logins.wait_s():
                again = {"Retry-After": str(math.ceil(wait))}
                return refusal(scope, 429, "Too many wrong tokens; try again in a minute.", again)
        return refusal(scope, 401, "Log in first.", {"WWW-Authenticate": 'Bearer realm="arithctl"'})


def session_of(headers: Headers, logins: Logins) -> str:
    """The session that the browser's cookie names; empty if there is none."""
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[logins.cookie].value if logins.cookie in cookies else ""


def _host(header: str) -> str | None:
    """The name in a Host header without its port; None if it is none."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _same_origin(headers: Headers) -> bool:
    """Whether a form was sent by a page of ours, or by a tool that is no browser.

    A browser says so in Sec-Fetch-Site; its Origin is `null` because our pages send no referrer.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
