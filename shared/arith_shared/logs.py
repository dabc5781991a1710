"""Logs of services: one line per record, with run and unit bound once; text for people, JSON for collectors.

In JSON every line that Python writes is one object: Celery's and its pool's, warnings, and whatever ends a thread.
A password inside a URL is never written.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

_bound: ContextVar[dict[str, str]] = ContextVar("arith_log_context")

#: User and password of a URL; a password that should have been quoted may hold anything but a space.
_CREDENTIALS = re.compile(r"(?<=://)([^\s:/@]*):\S*@")

log = logging.getLogger(__name__)


@contextmanager
def bound(**context: str) -> Iterator[None]:
    """Add `context` to every record logged inside the block."""
    token = _bound.set({**_bound.get({}), **context})
    try:
        yield
    finally:
        _bound.reset(token)


class _Formatter(logging.Formatter):
    def __init__(self, style: Literal["text", "json"]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        context = _bound.get({})
        if not self._json:
            prefix = " ".join(context.values())
            text = without_passwords(super().format(record))
            return f"{text}  [{prefix}]" if prefix else text
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {"at": at, "level": record.levelname, "logger": record.name}
        fields |= {"message": without_passwords(record.getMessage()), **context}
        if record.exc_info:
            fields["exception"] = without_passwords(self.formatException(record.exc_info))
        return json.dumps(fields, ensure_ascii=False)


def without_passwords(text: str) -> str:
    """The text with `***` for the password of every URL in it."""
    return _CREDENTIALS.sub(r"\1:***@", text)


def configure(style: Literal["text", "json"], level: int = logging.INFO) -> None:
    """Send all logs and warnings of this process to standard error in the given style."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(style))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # It says at every look at the schema's version which database it talks to.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Process pools keep this logger from the root's handlers, and without one of its own it writes bare lines.
    pool = logging.getLogger("multiprocessing")
    pool.handlers, pool.propagate = [handler], False
    if style == "json":
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread
        _silence_plain_output()


def _silence_plain_output() -> None:
    """Close where Celery draws its banner and says that it shuts down, past all loggers."""
    if getattr(sys.__stdout__, "name", None) != os.devnull:
        sys.__stdout__ = open(os.devnull, "w", encoding="utf-8")  # type: ignore[misc] # noqa: SIM115


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("uncaught %s", kind.__name__, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value or args.exc_type()
    name = args.thread.name if args.thread else "a thread"
    log.critical("uncaught %s in %s", args.exc_type.__name__, name, exc_info=error)
