"""A folder with real runs of a shrunken recipe in it: done, done again with other probes, and never worked on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.recipes import overrides

ARITHCTL = Path(sys.executable).with_name("arithctl")
#: What somebody may call a run to try out what a page does with it.
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> & \u2028"
)
#: Nothing of the caller's settings: an embedded deployment in the folder, one thread.
ENV = {name: value for name, value in os.environ.items() if not name.startswith("ARITH_")} | {
    "ARITH_MODE": "embedded",
    "ARITH_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}


@dataclass(frozen=True)
class Tiny:
    """An embedded deployment and its runs."""

    folder: Path
    #: The first, done; its name is HOSTILE.
    run: str
    #: The same with one probe family alone and no untrained control, done: LM and states are reused.
    other: str
    #: Submitted, and never worked on.
    waiting: str

    def arithctl(self, *arguments: str) -> str:
        """Run a command in the folder; what it prints."""
        return _arithctl(self.folder, *arguments)

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Ask the database itself."""
        with sqlite3.connect(f"file:{self.folder}/.arith/arith.db?mode=ro", uri=True) as connection:
            return list(connection.execute(sql, values))


def make(folder: Path) -> Tiny:
    """Submit the runs and work on the first two, as a user would."""

    def submit(*options: str, **fields: object) -> str:
        command = ("submit", "tiny-specialized", "--json", *overrides(**fields), *options)
        return str(json.loads(_arithctl(folder, *command))["run"])

    run = submit("--wait", "--name", HOSTILE)
    other = submit("--wait", probe__families="[ridge]", probe__untrained="false")
    return Tiny(folder, run, other, submit(seed=7))


def _arithctl(folder: Path, *arguments: str) -> str:
    command = [str(ARITHCTL), *arguments]
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
