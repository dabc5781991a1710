"""Debian's headless Chromium under Playwright: pages as a reader sees them, and all that they ask for.

Playwright brings its own browsers; the tests use the machine's, which is the one that distributions ship. Every page
records what must never happen: an error on the console, a script that raises, a request that leaves the machine.
Screenshots land in `.screenshots/` of the clone (ARITH_SCREENSHOTS moves it), to be looked at.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
SCREENSHOTS = Path(os.environ.get("ARITH_SCREENSHOTS", ROOT / ".screenshots"))
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: A desk and a small phone, in CSS pixels.
DESK, PHONE = (1280, 900), (360, 740)
_HERE = ("", "localhost", "127.0.0.1", "::1")


@dataclass
class Witness:
    """What a page did that a reader does not see."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def foreign(self) -> list[str]:
        """Requests that leave this machine."""
        inline = ("data", "blob", "about")
        parts = [(url, urlsplit(url)) for url in self.requests]
        return [url for url, at in parts if at.scheme not in inline and (at.hostname or "") not in _HERE]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium with a fresh profile; skips the test where there is none, fails on CI."""
    path = os.environ.get("ARITH_CHROMIUM") or shutil.which("chromium")
    if path is None:
        reason = "needs Debian's chromium: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(
    browser: Browser, *, size: tuple[int, int] = DESK, **options: Any
) -> Iterator[tuple[Page, Witness]]:
    """An empty page in a context of its own, and its witness; `options` are those of `Browser.new_context`."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, reduced_motion="reduce", **options
    )
    witness = Witness()
    try:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: message.type == "error" and witness.errors.append(message.text))
        page.on("pageerror", lambda error: witness.errors.append(str(error)))
        page.on("request", lambda request: witness.requests.append(request.url))
        yield page, witness
    finally:
        context.close()


def screenshot(page: Page, name: str, *, whole: bool = True) -> Path:
    """Keep a picture under `name`; the path is printed, for whoever runs pytest with -s or sees it fail."""
    path = SCREENSHOTS / f"{re.sub(r'[^a-z0-9-]+', '-', name.lower())}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, full_page=whole)
    print(f"screenshot {path}")  # noqa: T201 - for people
    return path


def overflow(page: Page) -> int:
    """CSS pixels by which the page is wider than its window; a reader would have to scroll sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
