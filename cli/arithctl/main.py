"""The command group: registers commands and nothing else, so that `--help` loads no library but Click."""

from __future__ import annotations

import importlib

import click

from arithctl.errors import CleanErrors

#: Command -> where it is, and its line in `arithctl --help`; modules are imported when their command runs.
COMMANDS = {
    "recipes": (
        "arithctl.commands.recipes:recipes",
        "List recipes, or print one with the source of each value.",
    ),
    "submit": ("arithctl.commands.submit:submit", "Start a run of a recipe."),
    "status": ("arithctl.commands.status:status", "List runs, or show how far one is."),
    "logs": ("arithctl.commands.logs:logs", "Show what happened to a run."),
    "results": ("arithctl.commands.results:results", "Print or save a result table."),
    "figures": ("arithctl.commands.figures:figures", "Draw the figures of runs."),
    "report": ("arithctl.commands.report:report", "Write a page about runs that opens in any browser."),
    "export": ("arithctl.commands.export:export", "Write a finished run to one file."),
    "verify": ("arithctl.commands.verify:verify", "Check such a file: its hashes, and its tables once more."),
    "compare": (
        "arithctl.commands.compare:compare",
        "Differences between runs, cell by cell, with intervals.",
    ),
    "cancel": ("arithctl.commands.cancel:cancel", "Stop a run; what it has finished is kept."),
    "resume": (
        "arithctl.commands.resume:resume",
        "Continue a run that failed, was cancelled or interrupted.",
    ),
    "delete": ("arithctl.commands.delete:delete", "Remove a run with its results."),
    "gc": ("arithctl.commands.gc:gc", "Remove files that no run needs."),
    "workers": ("arithctl.commands.workers:workers", "Show who is alive, on which device, doing what."),
    "dashboard": (
        "arithctl.commands.dashboard:dashboard",
        "Serve a read-only web page of all runs.",
    ),
    "doctor": (
        "arithctl.commands.doctor:doctor",
        "Check what is configured, reachable, missing or insecure.",
    ),
    "completion": (
        "arithctl.commands.completion:completion",
        "Print the script with which a shell completes names.",
    ),
    "db": ("arithctl.commands.db:db", "Upgrade the database's schema, or print its version."),
}


class LazyGroup(CleanErrors, click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names, in the order of a run's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with:  arithctl submit tiny-specialized --wait\n\n"
    "Exit codes: 0 fine, 1 the run failed, 2 usage, 3 not reachable, 4 a claim failed (`results --check`).",
)
@click.version_option(package_name="arithctl")
def main() -> None:
    """When, and where inside a language model, are the parts of an arithmetic problem worked out?"""
