"""Tab completes in real bash, zsh and fish: each runs in a terminal, and its line is read after Tab."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness.needs import cannot
from harness.tiny import ARITHCTL, ENV, Tiny

#: The first test to ask for the runs waits for them, on a busy machine for minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROMPT = "READY>"
#: What a user does once, and how the shell shows that it waits for a line.
SETUP = {
    "bash": f"PS1='{PROMPT} '\neval \"$(arithctl completion bash)\"\n",
    "zsh": 'autoload -Uz compinit && compinit -u -D\nbindkey -e\neval "$(arithctl completion zsh)"\n'
    f"PS1='{PROMPT} '\n",
    "fish": f"function fish_prompt; echo '{PROMPT} '; end\narithctl completion fish > completions/arithctl.fish\n",
}
#: Seconds that a shell may take; nothing is asserted about them.
_WITHIN = 60


class Shell:
    """An interactive shell in a terminal, with nothing of the user's."""

    def __init__(self, name: str, folder: Path, home: Path) -> None:
        files = {"bash": home / "rc", "zsh": home / ".zshrc", "fish": home / "fish" / "config.fish"}
        (home / "fish" / "completions").mkdir(parents=True)
        files[name].write_text(SETUP[name].replace("completions/", f"{home}/fish/completions/"))
        options = {"bash": ["--rcfile", str(home / "rc"), "-i"], "zsh": ["-i"], "fish": ["-i"]}[name]
        env = ENV | {
            "PATH": f"{ARITHCTL.parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "ZDOTDIR": str(home),
            "XDG_CONFIG_HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "TERM": "xterm",
        }
        self._terminal, end = pty.openpty()
        # A shell that does not own its terminal is not interactive, and fish does not even start.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", name, *options], cwd=folder, env=env, stdin=end, stdout=end, stderr=end
        )
        os.close(end)
        self._result = home / "result"

    def wait_for_prompt(self) -> None:
        """Until then the terminal is not the shell's."""
        seen, give_up = "", time.monotonic() + _WITHIN
        while PROMPT not in seen:
            assert time.monotonic() < give_up, seen
            seen += self._seen()
            time.sleep(0.05)

    def complete(self, typed: str) -> str:
        """What the line is after Tab: `echo` is put before it and the output goes to a file."""
        self._result.unlink(missing_ok=True)
        os.write(self._terminal, f"{typed}\t\x01echo \x05 > {self._result}\r".encode())
        give_up = time.monotonic() + _WITHIN
        while not (self._result.exists() and self._result.read_text().endswith("\n")):
            assert time.monotonic() < give_up, self._seen()
            self._seen()
            time.sleep(0.05)
        return self._result.read_text().strip()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def _seen(self) -> str:
        seen = b""
        while select.select([self._terminal], [], [], 0)[0]:
            seen += os.read(self._terminal, 65_536)
        return seen.decode(errors="replace")


@pytest.fixture(params=sorted(SETUP))
def shell(request, tiny: Tiny, tmp_path):
    """Each shell, where the runs are."""
    if shutil.which(request.param) is None:
        cannot(f"{request.param} is not installed (apt-get install {request.param})")
    shell = Shell(request.param, tiny.folder, tmp_path)
    try:
        shell.wait_for_prompt()
        yield shell
    finally:
        shell.close()


def test_tab_completes_commands_options_recipes_and_runs(shell, tiny):
    assert shell.complete("arithctl expo") == "arithctl export"
    assert shell.complete("arithctl submit --dry") == "arithctl submit --dry-run"
    assert shell.complete("arithctl submit opt-g") == "arithctl submit opt-general"
    assert shell.complete("arithctl recipes mis") == "arithctl recipes mistral-cot"
    for run in (tiny.run, tiny.waiting):
        assert shell.complete(f"arithctl status {run[:-1]}") == f"arithctl status {run}"
    assert shell.complete(f"arithctl export {tiny.run[:-1]}") == f"arithctl export {tiny.run}"


def test_what_is_not_there_is_left_as_it_was_typed(shell):
    assert shell.complete("arithctl status nothing-like") == "arithctl status nothing-like"
