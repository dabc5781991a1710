"""The command line in this process, in an empty folder, with nothing configured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from arith_shared.ledger.database import Database
from arithctl.main import main


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left on the screen."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture
def cli(home: Path) -> Cli:
    """Run a command; an exception that it did not turn into a message fails the test."""

    def run(*arguments: str) -> Ran:
        result = CliRunner().invoke(main, arguments, prog_name="arithctl", catch_exceptions=False)
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def submitted(cli: Cli) -> str:
    """The id of a small run that waits for workers."""
    run: str = cli("submit", "tiny-specialized", "--name", "first", "--json").json["run"]
    return run


@pytest.fixture
def database(home: Path):
    """The embedded ledger, once a command has made it."""
    opened = Database(f"sqlite:///{home / 'arith.db'}")
    yield opened
    opened.close()
