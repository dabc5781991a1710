"""Processes as a test sees them: found through /proc, awaited with patience, and started again when they die."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Seconds; whatever a test waits for takes a few on a quiet core.
WITHIN_S = 240.0


def until(happened: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """Wait for something that other processes bring about, and return it."""
    give_up = time.monotonic() + within_s
    while not (found := happened()):
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.05)
    return found


def descendants(pid: int) -> set[int]:
    """Process ids of all children of `pid`, and of theirs."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            child, _, rest = stat.read_text().partition(" (")
            children.setdefault(int(rest.rpartition(") ")[2].split()[1]), []).append(int(child))
    found, new = set(), [pid]
    while new:
        new = [child for parent in new for child in children.get(parent, [])]
        found.update(new)
    return found


def pool_children(pid: int) -> set[int]:
    """Process ids of the children in which a Celery worker does its units; its resource trackers are none."""
    found = set()
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            if b"_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(child)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    return _state(pid) not in ("", "Z", "X")


def is_stopped(pid: int) -> bool:
    """Whether a process was halted by SIGSTOP."""
    return _state(pid) == "T"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return ""


def send(number: int, pid: int) -> None:
    """Send a signal to a process, if it still is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def of_folder(folder: Path) -> set[int]:
    """Live processes whose environment names `folder` as their home: nothing else finds one that left its family."""
    mark = f"ARITH_HOME={folder}".encode()
    found = set()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in environ.read_bytes().split(b"\0"):
                found.add(int(environ.parent.name))
    return set(filter(is_alive, found))


class Service:
    """A process with a restart policy, as a container has: `tend` starts it again after any death."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        """Start `command` in a process group of its own, appending what it says to `log`."""
        self._command, self._env, self.log = command, env, log
        self._is_wanted = True
        #: How often it was started.
        self.starts = 0
        self._start()

    def _start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Process id of the present incarnation, which leads its process group."""
        return self._process.pid

    def stopped(self) -> int | None:
        """The process of the family that SIGSTOP has halted, if there is one."""
        return next(filter(is_stopped, descendants(self.pid)), None)

    def says(self, text: str, after: int = 0) -> bool:
        """Whether `text` stands in the log, after so many bytes of it."""
        return text.encode() in self.log.read_bytes()[after:]

    def tend(self) -> None:
        """Start it again if it has died without being stopped."""
        if self._is_wanted and self._process.poll() is not None:
            self._start()

    def send(self, number: int, pid: int | None = None) -> None:
        """Send a signal to the whole group, or to one of its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number) if pid else os.killpg(self.pid, number)

    def stop(self, number: int = signal.SIGKILL) -> int:
        """End the whole group for good with a signal to its leader, or SIGKILL to all; returns the exit status."""
        self._is_wanted = False
        if number == signal.SIGKILL:
            self.send(number)
        else:
            self.send(number, self.pid)
        status = self._process.wait(WITHIN_S)
        self.send(signal.SIGKILL)
        return status
