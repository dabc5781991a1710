"""Real limits: a disk of a few megabytes, and a group of processes that the kernel kills for its memory."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from harness.needs import cannot
from harness.processes import until


class SmallDisk:
    """Context manager; a tmpfs on `folder`."""

    def __init__(self, folder: Path, size: str) -> None:
        """Nothing is mounted before the block is entered; `size` as mount reads it, e.g. `2m`."""
        self.folder, self._size = folder, size
        self._filler = folder / "filler"

    def __enter__(self) -> SmallDisk:
        self.folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._size}", "tmpfs", str(self.folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            cannot(f"a disk to fill needs the right to mount one (root): {error}")
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self) -> None:
        """Use up all that is free."""
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink()


class MemoryGroup:
    """Context manager; a memory control group with a limit in bytes, of either version of the kernel's interface."""

    def __init__(self, name: str, limit: int) -> None:
        """Nothing is made before the block is entered."""
        root = Path("/sys/fs/cgroup")
        self._is_old = (root / "memory").is_dir()
        self.folder = (root / "memory" if self._is_old else root) / name
        self._limit = limit

    def __enter__(self) -> MemoryGroup:
        name = "memory.limit_in_bytes" if self._is_old else "memory.max"
        try:
            self.folder.mkdir()
            (self.folder / name).write_text(str(self._limit))
        except OSError as error:
            cannot(f"a kill by the kernel for memory needs the right to make a control group (root): {error}")
        return self

    def __exit__(self, *error: object) -> None:
        until(lambda: not (self.folder / "cgroup.procs").read_text())
        self.folder.rmdir()

    def kills(self) -> int:
        """How many processes the kernel has killed here."""
        name = "memory.oom_control" if self._is_old else "memory.events"
        facts = dict(line.split() for line in (self.folder / name).read_text().splitlines())
        return int(facts["oom_kill"])
