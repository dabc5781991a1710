"""Serving the dashboard from a command until it is interrupted."""

from __future__ import annotations

import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from arith_shared.errors import UserError
from arithctl.dashboard.logins import MIN_TOKEN

#: Requests that are answered at one time: a few people's pages, and no more than the database has connections for.
_CONCURRENT = 64
#: Seconds that an open page may keep the command from ending.
_GRACE_S = 3


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(32)


def check_token(token: str) -> None:
    """Raise UserError for a token that somebody could guess."""
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"ARITH_DASHBOARD_TOKEN: expected at least {MIN_TOKEN} characters without spaces, found {len(token)}; "
            "leave it unset for a new one at each start, or make one with `openssl rand -hex 32`"
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any that is free. Raises UserError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UserError(f"port {port} of {host}: {error.strerror}; choose another with --port") from error
    return listener


def serve(app: ASGIApp, listener: socket.socket, *, started: Callable[[], None]) -> None:
    """Answer requests until interrupted or terminated; `started` is called once the first would be answered."""
    config = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        limit_concurrency=_CONCURRENT, timeout_graceful_shutdown=_GRACE_S, lifespan="on", ws="none",
    )  # fmt: skip
    _Server(config, started).run(sockets=[listener])


def open_browser(url: str) -> None:
    """Show the page in the person's browser, which may take its time to start."""
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in good order, without repeating the signal as the base does: being told to end is no failure."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
