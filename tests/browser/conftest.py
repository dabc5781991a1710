"""One set of real tiny runs for all browser tests, and the machine's Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from harness import tiny as deployment
from harness.browser import chromium
from harness.tiny import Tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Three runs: done, done with other probes, and waiting."""
    return deployment.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for the session; every test opens a context of its own."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def report(tiny: Tiny) -> Callable[..., Path]:
    """Make a report of some runs, once per set of runs; returns the file."""
    made: dict[tuple[str, ...], Path] = {}

    def make(*runs: str) -> Path:
        if runs not in made:
            made[runs] = tiny.folder / f"report-{len(made)}.html"
            tiny.arithctl("report", *runs, "-o", str(made[runs]))
        return made[runs]

    return make
