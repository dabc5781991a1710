"""A whole run, embedded: how much of its wall time no handler is at work.

Everything outside the three handlers is start-up of processes, imports, queue, database, checksums and waiting.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from arithctl.forecast import actual
from bench.command import Options, main
from bench.machine import Machine
from bench.report import Report, Table, at_most

#: Written by the worker when a handler has returned.
HANDLED = "handled in "
QUICK = {
    "lm.layers": 1, "lm.heads": 2, "lm.width": 32, "lm.ffn": 64, "lm.training.problems": 3_200,
    "extract.keep": "all", "extract.n_train": 300, "extract.n_eval": 200, "extract.shard_problems": 100,
    "probe.resamples": 50,
}  # fmt: skip
WHY = (
    "the start of five processes, the trainer's import of torch and transformers and the drawing of eight figures "
    "bind; a longer training would hide them; tried: no garbage collection during imports, the trainer starts before "
    "the others, later stages import while earlier ones work, workers end while figures are drawn"
)
#: Rounds at most, since a whole run takes minutes.
ROUNDS = 1


@dataclass(frozen=True, slots=True)
class Handled:
    """One call of a handler."""

    stage: str
    #: Seconds since the epoch.
    start: float
    end: float


def measure(options: Options, machine: Machine) -> Report:
    """`tiny-specialized` from an empty folder to its rows."""
    report = Report(
        "A whole run of tiny-specialized, embedded: wall time outside the three handlers",
        "`arithctl submit tiny-specialized --wait` in an empty folder, from the start of the command to its end. "
        "Outside is the time in which no worker is inside a handler.",
    )
    table, stages = Table("Wall seconds"), Table("Seconds inside handlers, all workers together")
    for number in range(min(ROUNDS, options.rounds)):
        wall, handled = run(QUICK if options.quick else {})
        inside = sum(end - start for start, end in merged(handled))
        table.rows.append(
            {
                "round": number + 1,
                "wall s": wall,
                "some handler at work": inside,
                "share outside": 1 - inside / wall,
                "units": len(handled),
                "before the first handler": min(one.start for one in handled),
                "after the last one": wall - max(one.end for one in handled),
            }
        )
    for stage in dict.fromkeys(one.stage for one in handled):
        mine = [one for one in handled if one.stage == stage]
        stages.rows.append(
            {"stage": stage, "units": len(mine), "seconds": sum(one.end - one.start for one in mine)}
        )
    report.tables += [table, stages]
    share = min(row["share outside"] for row in table.rows)
    report.targets.append(at_most("share of wall time outside the handlers", 0.05, share, WHY, unit=""))
    return report


def run(fields: dict[str, object]) -> tuple[float, list[Handled]]:
    """Wall seconds of the command, and every call of a handler, in seconds since its start."""
    with tempfile.TemporaryDirectory() as folder:
        start, clock = time.time(), time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "arithctl",
            "submit",
            "tiny-specialized",
            "--wait",
            "--json",
            *overrides(fields),
        ]
        done = subprocess.run(
            command, cwd=folder, env=settings(), capture_output=True, text=True, check=False
        )
        wall = time.perf_counter() - clock
        if done.returncode:
            raise RuntimeError(f"the run failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        logs = [path.read_text(encoding="utf-8") for path in Path(folder, ".arith", "logs").glob("*.log")]
    found = [Handled(one.stage, one.start - start, one.end - start) for text in logs for one in read(text)]
    return wall, found


def overrides(fields: Mapping[str, object]) -> list[str]:
    """The options of `submit` that replace fields."""
    return [part for name, value in fields.items() for part in ("-s", f"{name}={value}")]


def settings() -> dict[str, str]:
    """The environment of an embedded run, without any setting of the person's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ARITH_")}
    return own | {"ARITH_MODE": "embedded", "ARITH_LOG_FORMAT": "json", "OMP_WAIT_POLICY": "passive"}


def read(log: str) -> Iterator[Handled]:
    """The calls that a worker's log tells of."""
    for line in log.splitlines():
        if HANDLED in line:
            record = json.loads(line)
            end = datetime.fromisoformat(record["at"]).timestamp()
            seconds = float(record["message"].removeprefix(HANDLED).removesuffix(" s"))
            yield Handled(record["unit"].partition("/")[0], end - seconds, end)


def merged(handled: list[Handled]) -> list[tuple[float, float]]:
    """The times in which at least one handler was at work, without overlap."""
    return actual.merged((one.start, one.end) for one in handled)


if __name__ == "__main__":
    sys.exit(main("whole_run", measure))
