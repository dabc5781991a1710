"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

Command = TypeVar("Command", bound=Callable[..., Any])


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of runs and groups, and `last`, for the shell."""
    from arith_shared.errors import ArithError
    from arith_shared.ledger import views
    from arith_shared.settings import load_settings
    from arithctl.connection import open_database

    try:
        with open_database(load_settings()) as database, database.reading() as session:
            found = views.run_list(session)
    except ArithError:
        return []
    offered = {row["run"]: row["state"] for row in found}
    offered |= {row["group"]: "runs submitted together" for row in found if row["group"]}
    if found:
        offered["last"] = f"the newest, {found[0]['group'] or found[0]['run']}"
    return [CompletionItem(name, help=what) for name, what in offered.items() if name.startswith(incomplete)]


def complete_recipe(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the recipes that ship with the command line, for the shell."""
    from arithctl import recipes

    return [CompletionItem(name) for name in recipes.names() if name.startswith(incomplete)]


def run_argument(command: Command) -> Command:
    """The run or group that a command is about: its id, a unique prefix of it, or `last`."""
    return click.argument("run", shell_complete=complete_run)(command)


def json_option(command: Command) -> Command:
    """`--json`: the same facts for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)
