"""Signs of life: small files that the parts of a service renew, and the check that a container's Docker runs.

A live process is not enough: a consumer whose loop hangs takes no messages, and a pool child that is frozen keeps
its parent waiting. Each part promises to renew its sign within a time; one that broke its promise is stuck. A dead
process is not: its parent starts another.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

#: Signs of which a service has one for as long as it works.
MAIN_PARTS = ("consumer", "scheduler")


class Sign:
    """A promise to be heard of again within some seconds."""

    def __init__(self, folder: Path | None, part: str, within_s: float) -> None:
        """Nothing is written before `renew`, and nothing ever without a folder."""
        self._path = folder / part if folder else None
        self._within_s = within_s

    def renew(self) -> None:
        """Be heard of."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            new.write_text(f"{os.getpid()} {self._within_s}", encoding="ascii")
            new.replace(self._path)

    def end(self) -> None:
        """Promise nothing any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def problems(folder: Path) -> list[str]:
    """What is wrong with the service whose signs lie in `folder`; empty if nothing is."""
    found = [] if any((folder / part).exists() for part in MAIN_PARTS) else ["not started yet"]
    for path in sorted(folder.glob("[a-z]*")):
        pid, within_s = path.read_text(encoding="ascii").split()
        silent_s = time.time() - path.stat().st_mtime
        if silent_s > float(within_s) and (path.name in MAIN_PARTS or _is_alive(int(pid))):
            found.append(f"{path.name} (process {pid}) has been silent for {silent_s:.0f} s")
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit("; ".join(problems(Path(sys.argv[1]))) or None)
