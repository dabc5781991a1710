"""`arithctl completion`."""

from __future__ import annotations

import click

#: The line for a shell's own start-up file, or the file that it reads by itself.
INSTALL = {
    "bash": 'eval "$(arithctl completion bash)"     # a line of ~/.bashrc',
    "zsh": 'eval "$(arithctl completion zsh)"      # a line of ~/.zshrc, after compinit',
    "fish": "arithctl completion fish > ~/.config/fish/completions/arithctl.fish",
}


@click.command(epilog="Example:  arithctl completion bash\n\n\b\n" + "\n".join(INSTALL.values()))
@click.argument("shell", type=click.Choice(list(INSTALL)))
def completion(shell: str) -> None:
    """Print the script with which SHELL completes commands, options, and names of recipes and runs."""
    from click.shell_completion import get_completion_class

    from arithctl.main import main

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this version of Click does not know {shell}")
    click.echo(kind(main, {}, "arithctl", "_ARITHCTL_COMPLETE").source())
