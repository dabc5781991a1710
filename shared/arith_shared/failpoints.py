"""Named places where a test may make a process fail, one on every edge of a unit's life.

`ARITH_FAILPOINT=finish.before_commit:kill` kills the process that gets there with SIGKILL, as a power cut
would. Actions: `kill`, `raise` (an I/O error) and `stop` (SIGSTOP: a process that hangs and may come back).
With `ARITH_FAILPOINT=@FILE` the same text stands in FILE, which may come and go while processes run; the first
process to fail removes it, so that its successor gets on. Nothing is set outside tests, and then a failpoint
costs one look at the environment.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from arith_shared.errors import UserError

#: Every failpoint, in the order of a unit's life; a test crosses each.
FAILPOINTS = (
    "submit.before_commit",
    "deliver.before_commit",
    "deliver.before_send",
    "claim.before_commit",
    "claim.after_commit",
    "handler.before",
    "handler.after",
    "publish.after",
    "finish.before_commit",
    "finish.after_commit",
    "fail.before_commit",
    "release.before_commit",
    "expire.before_commit",
)
VARIABLE = "ARITH_FAILPOINT"


def reach(name: str) -> None:
    """Do what the environment says of failpoint `name`, if anything."""
    setting = os.environ.get(VARIABLE)
    if setting is None:
        return
    file = Path(setting[1:]) if setting.startswith("@") else None
    if file is not None and (setting := _read(file)) is None:
        return
    wanted, _, action = setting.partition(":")
    if wanted not in FAILPOINTS or action not in ("kill", "raise", "stop"):
        raise UserError(
            f"{VARIABLE}={setting}: expected NAME:ACTION with an action among kill, raise, stop and a name among "
            f"{', '.join(FAILPOINTS)}"
        )
    if wanted == name and (file is None or _is_our_turn(file)):
        _act(name, action)


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _is_our_turn(file: Path) -> bool:
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


def _act(name: str, action: str) -> None:
    if action == "raise":
        raise OSError(f"failpoint {name}")
    os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
