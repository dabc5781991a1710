"""Logs of services: one line per record, with run and unit bound once; text for people, JSON for collectors."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

_bound: ContextVar[dict[str, str]] = ContextVar("arith_log_context")


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
            return f"{super().format(record)}  [{prefix}]" if prefix else super().format(record)
        fields = {"at": self.formatTime(record), "level": record.levelname, "logger": record.name}
        fields |= {"message": record.getMessage(), **context}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def configure(style: Literal["text", "json"], level: int = logging.INFO) -> None:
    """Send all logs of this process to standard error in the given style."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(style))
    logging.basicConfig(level=level, handlers=[handler], force=True)
