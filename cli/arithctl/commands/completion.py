"""`arithctl completion`."""

from __future__ import annotations

import click


@click.command(epilog="Example:  arithctl completion bash")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script with which SHELL completes commands, options, and names of recipes and runs.

    \b
    ~/.bashrc  eval "$(arithctl completion bash)"
    ~/.zshrc   eval "$(arithctl completion zsh)", after compinit
    fish       arithctl completion fish > ~/.config/fish/completions/arithctl.fish
    """
    from click.shell_completion import get_completion_class

    from arithctl.main import main

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this version of Click does not know {shell}")
    click.echo(kind(main, {}, "arithctl", "_ARITHCTL_COMPLETE").source())
