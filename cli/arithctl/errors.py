"""How errors reach the user: a sentence and an exit code, never a traceback for a mistake of theirs."""

from __future__ import annotations

from typing import Any

import click

from arith_shared.errors import ArithError, UnreachableError

RUN_FAILED = 1
USAGE = 2
NOT_REACHABLE = 3
CLAIM_FAILED = 4


class Failure(click.ClickException):
    """A message for the user and the exit code that goes with it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # Click declares it on the class only


class CleanErrors(click.Command):
    """Mixin for a group: turns our own errors into Click's."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print an `ArithError` as `Error: ...` and exit with its code."""
        try:
            return super().invoke(ctx)
        except ArithError as error:
            code = NOT_REACHABLE if isinstance(error, UnreachableError) else USAGE
            raise Failure(str(error), code) from error
