"""What `doctor` looks at: each check is one function that gives a finding and, if need be, a remedy."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arith_shared import queue
from arith_shared.errors import ArithError
from arith_shared.ledger import schema, workers
from arith_shared.ledger.database import Database
from arith_shared.settings import Settings
from arithctl.connection import open_store
from arithctl.embedded import broker
from arithctl.output import human_bytes

Verdict = Literal["ok", "warning", "error"]

#: What each optional part needs, and the extra that brings it.
_EXTRAS = {
    "trainer": ("torch", "transformers"),
    "extractor": ("torch", "transformers"),
    "prober": ("torch",),
    "figures": ("matplotlib",),
    "dashboard": ("fastapi", "jinja2", "uvicorn"),
}
#: Bytes free below which a run of any size is at risk.
_LOW_DISK = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Run all checks; none of them raises."""
    yield _mode(settings)
    checks: tuple[tuple[str, Callable[[Settings], Iterator[Finding]]], ...] = (
        ("database", _database),
        ("broker", _broker),
        ("artifacts", _artifacts),
        ("extras", _extras),
        ("secrets", _secrets),
    )
    for name, check in checks:
        try:
            yield from check(settings)
        except ArithError as error:
            yield Finding(name, "error", str(error))


def _mode(settings: Settings) -> Finding:
    return Finding("mode", "ok", f"{settings.reason}; state in {settings.home.absolute()}")


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None and not (settings.home / "arith.db").exists():
        yield Finding("database", "ok", "none yet; the first submit makes it")
        return
    database = Database(settings.database)
    try:
        schema.require_current(database, create=False)
        yield Finding("database", "ok", f"{database.where}, schema {schema.known_versions()[0]}")
        with database.reading() as session:
            slots = workers.slots(session)
        listed = ", ".join(f"{count} for {name}" for name, count in slots.items())
        missing = "" if listed or settings.embedded else "start the services"
        yield Finding("workers", "warning" if missing else "ok", listed or "none alive", missing)
    finally:
        database.close()


def _broker(settings: Settings) -> Iterator[Finding]:
    if settings.embedded:
        yield Finding("broker", "ok", f"private, on demand: {broker.find_server()}")
        return
    sender = queue.Sender(settings.broker)
    try:
        sender.ping()
        yield Finding("broker", "ok", sender.where)
    finally:
        sender.close()


def _artifacts(settings: Settings) -> Iterator[Finding]:
    if not settings.sees_artifacts:
        remedy = "for gc, --verify and --repair: docker compose run --rm cli arithctl ..."
        yield Finding("artifacts", "ok", "in a Docker volume that only the containers see", remedy)
        return
    store = open_store(settings)
    store.check_writable()
    free = store.free_bytes()
    low = free is not None and free < _LOW_DISK
    found = f"{store.url}, {human_bytes(free)} free" if free is not None else store.url
    yield Finding("artifacts", "warning" if low else "ok", found, "free some space" if low else "")


def _extras(settings: Settings) -> Iterator[Finding]:
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if not missing:
            yield Finding(f"extra {extra}", "ok", "installed")
        elif extra in ("figures", "dashboard") or settings.embedded:
            remedy = f"pip install 'arithctl[{extra}]'"
            yield Finding(f"extra {extra}", "warning", f"{', '.join(missing)} not installed", remedy)


def _secrets(settings: Settings) -> Iterator[Finding]:
    env_file = Path(".env")
    if env_file.exists() and env_file.stat().st_mode & 0o077:
        yield Finding("secrets", "warning", f"{env_file} is readable by others", f"chmod 600 {env_file}")
    if settings.insecure:
        yield Finding("secrets", "warning", settings.insecure, "make env, then docker compose up --wait -d")
    if settings.broker.startswith(("redis://", "rediss://")) and "@" not in settings.broker:
        yield Finding(
            "secrets",
            "warning",
            "the broker URL has no password",
            "set one; ARITH_BROKER_URL=redis://:PASSWORD@...",
        )
    if os.environ.get("HF_TOKEN"):
        yield Finding("secrets", "ok", "HF_TOKEN is set")
