"""The reference of all commands as Markdown: `make reference` writes docs/commands.md, and a test compares."""

from __future__ import annotations

import sys

import click

from arithctl.main import COMMANDS, main

_HEAD = """# Commands

Written by `make reference` from the commands themselves; `arithctl COMMAND --help` prints the same.
"""


def markdown() -> str:
    """Every command with its usage, its options, and the examples of its help."""
    parent = click.Context(
        main, info_name="arithctl", terminal_width=100, max_content_width=100, **main.context_settings
    )
    parts = [_HEAD]
    for name in COMMANDS:
        command = main.get_command(parent, name)
        if command is not None:
            parts += _sections(command, name, parent)
    return "\n".join(parts)


def _sections(command: click.Command, name: str, parent: click.Context) -> list[str]:
    context = command.context_class(command, parent=parent, info_name=name)
    parts = [f"## {context.command_path}\n", f"```\n{command.get_help(context).rstrip()}\n```\n"]
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None:
                parts += _sections(found, below, context)
    return parts


if __name__ == "__main__":
    sys.stdout.write(markdown())
