"""A command in a terminal of its own, as a person has it: real pty, real Ctrl-C, every byte of the screen kept."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.processes import until

#: What moves the cursor or erases: each begins a new line of its own.
_MOVES = re.compile(r"\x1b\[[0-9;]*[A-HJK]|\r|\n")
_SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
CTRL_C = "\x03"


class Terminal:
    """What a command writes to a screen, and a keyboard for it."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int) -> None:
        self.process, self._raw = process, b""
        self._fd: int | None = keyboard

    def read(self) -> None:
        """Take in what was written; the screen stays readable after its command's end."""
        while self._fd is not None and select.select([self._fd], [], [], 0.05)[0]:
            try:
                self._raw += os.read(self._fd, 65_536)
            except OSError:  # Linux says so where the other side is closed
                break

    def close(self) -> None:
        """Read what is left, and take the keyboard away."""
        self.read()
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    @property
    def text(self) -> str:
        """All that was written so far, without colours."""
        self.read()
        return _SEQUENCES.sub("", self._raw.decode(errors="replace"))

    @property
    def lines(self) -> list[str]:
        """Everything written between two movements of the cursor."""
        self.read()
        return [_SEQUENCES.sub("", line) for line in _MOVES.split(self._raw.decode(errors="replace"))]

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def shows(self, words: str) -> None:
        """Wait until the words were written."""
        until(lambda: words in self.text)

    def exit_code(self) -> int:
        """Wait for the end, reading on, so that the command never waits for a full screen."""
        while self.process.poll() is None:
            self.read()
            time.sleep(0.05)
        return self.process.returncode


@contextlib.contextmanager
def terminal(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], columns: int = 80, rows: int = 24
) -> Iterator[Terminal]:
    """Run a command in a terminal of that size; it is killed if it still runs at the end of the block."""
    keyboard, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    own = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    process = subprocess.Popen(
        # The terminal must control the command's session, or Ctrl-C is but a letter; and a pytest that a shell
        # started in the background ignores it, as would all that it starts.
        ["setsid", "--ctty", "env", "--default-signal=INT", *command],
        stdin=screen, stdout=screen, stderr=screen, cwd=cwd, env={**own, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(screen)
    shown = Terminal(process, keyboard)
    try:
        yield shown
    finally:
        process.kill()
        process.wait()
        shown.close()
