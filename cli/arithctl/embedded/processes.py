"""Child processes that never outlive their parent, even one that is killed with SIGKILL."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: prctl option: the signal that a process gets when the thread that started it ends.
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, so that Ctrl-C reaches only us, appending its output to `log`.

    Call it from a thread that lives as long as the child should: the kernel ties the child to that thread.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


def stop(process: subprocess.Popen[bytes], within_s: float) -> None:
    """Ask the process to end, and kill it if it has not after `within_s` seconds."""
    if process.poll() is None:
        process.terminate()
    end(process, within_s)


def end(process: subprocess.Popen[bytes], within_s: float) -> None:
    """Wait for a process that was asked to end, and kill it if it has not after `within_s` seconds."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, within_s))
    if process.poll() is None:
        process.kill()
        process.wait()
