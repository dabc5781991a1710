"""Help is there for every command, comes at once, and the shell completes names."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete

from arithctl.main import COMMANDS, main

HEAVY = ("torch", "matplotlib", "numpy", "sqlalchemy", "celery", "pydantic", "rich", "yaml")


def all_commands():
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        yield (name,), command
        for sub in getattr(command, "commands", {}).values():
            yield (name, sub.name), sub


@pytest.mark.parametrize("path", [path for path, _ in all_commands()], ids=" ".join)
def test_every_command_explains_itself_with_an_example_of_its_own(cli, path):
    ran = cli(*path, "--help")
    assert ran.code == 0
    assert f"Usage: arithctl {' '.join(path)}" in ran.out
    assert f"Example:  arithctl {path[0]}" in ran.out


def test_every_option_says_what_it_does():
    silent = [
        (path, parameter.name)
        for path, command in all_commands()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []


def test_the_examples_are_valid_command_lines():
    for path, command in all_commands():
        if isinstance(command, click.Group):
            continue
        for line in filter(None, command.epilog.splitlines()):
            words = line.partition(" arithctl ")[2].split()
            assert words[: len(path)] == list(path)
            command.make_context(" ".join(path), words[len(path) :])


def test_help_loads_no_library_but_click():
    program = (
        "import sys\n"
        "from arithctl.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "Commands:" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", [("status",), ("recipes",), ("submit", "tiny-specialized", "--dry-run")])
def test_no_command_loads_torch_or_matplotlib(submitted, command):
    program = (
        "import sys\n"
        "from arithctl.main import main\n"
        f"try:\n    main({list(command)})\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def complete(*words: str) -> list[str]:
    """What the shell would offer for the last of `words`."""
    found = ShellComplete(main, {}, "arithctl", "_ARITHCTL_COMPLETE").get_completions(
        list(words[:-1]), words[-1]
    )
    return [item.value for item in found]


def test_the_shell_completes_commands_recipes_and_runs(submitted):
    assert complete("re") == ["recipes", "results", "report", "resume"]
    assert complete("submit", "tiny-s") == ["tiny-specialized"]
    for command in ("status", "logs", "results", "figures", "cancel", "resume"):
        assert complete(command, "tiny") == [submitted]
        assert complete(command, "la") == ["last"]


def test_the_shell_completes_groups(cli, home):
    group = cli("submit", "tiny-specialized", "--sweep", "seed=1,2", "--json").json["group"]
    assert complete("compare", "group") == [group]
    assert len(complete("compare", "tiny")) == 2
    assert set(complete("compare", "")) == {group, "last", *complete("compare", "tiny")}


def test_completing_where_there_are_no_runs_offers_nothing_and_creates_nothing(home):
    assert complete("status", "") == []
    assert not home.exists()


def test_the_version_is_that_of_the_distribution(cli):
    import arith_shared

    assert cli("--version").out == f"arithctl, version {arith_shared.__version__}\n"
