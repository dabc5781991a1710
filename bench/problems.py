"""Accepted problems per second, beside the generator of the paper's authors' later code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from arith_shared.problems import Distribution, encode, sample
from arithctl import recipes
from bench.command import Options, main
from bench.machine import Machine
from bench.race import OURS, Contestant, Timing, race
from bench.report import Report, Table, at_least, lap_rows, not_measured, ratio

TTT = "keitokudo/TTT generator"
RUNNER = Path(__file__).with_name("ttt_generator.py")


def measure(options: Options, machine: Machine) -> Report:
    """Equation 1 with single digits, as their generator makes it; and the paper's larger settings, ours alone."""
    report = Report(
        "Problems: accepted problems per second",
        f"`{OURS}` draws and checks problems in blocks and encodes them as tokens; `{TTT}` (level 4, equation 1 with "
        "single digits) draws one by one and writes its files, which it cannot do without. One thread; its start and "
        "imports are not timed.",
    )
    table, alone = Table("Problems of equation 1, single digits"), Table("arithctl alone")
    count = 5_000 if options.quick else 200_000
    tasks = {
        name: recipes.load(name).resolve().task
        for name in ("tiny-specialized", "opt-specialized", "opt-general")
    }
    digits = tasks["tiny-specialized"].training_distribution()
    ours = Contestant(OURS, lambda: encode(sample(digits, "train", 0, count, 0), digits), count)
    laps = race([ours, *_peer(options)], options.rounds, 1)
    table.rows = lap_rows(laps, "problems", 1)
    if len(laps) > 1:
        report.targets.append(at_least(f"{TTT}: CPU time / ours", 200, ratio(laps, TTT)))
    else:
        why = "its code has no licence and is not here: give --ttt CHECKOUT"
        report.targets.append(not_measured(f"{TTT}: CPU time / ours", ">= 200x", why))
    for name, task in tasks.items():
        for what, run in _ours(task.training_distribution(), count).items():
            (lap,) = race([Contestant(OURS, run, count)], options.rounds, 1)
            alone.rows.append(
                {"recipe": name, "what": what, "problems/CPU-s": 1 / lap.cpu, "problems/s": 1 / lap.wall}
            )
    slowest = min(row["problems/CPU-s"] for row in alone.rows if row["what"] == "sample")
    report.targets.append(
        at_least("accepted problems per CPU second, the slowest recipe", 100_000, slowest, unit="")
    )
    report.tables += [table, alone]
    report.notes.append(
        "Floor: none of FLOPs or bytes binds; a problem takes a few hundred operations on numbers in the cache, "
        "repeated for each rejected candidate."
    )
    return report


def _ours(distribution: Distribution, count: int) -> dict[str, Callable[[], object]]:
    ready = sample(distribution, "train", 0, count, 0)
    return {
        "sample": lambda: sample(distribution, "train", 0, count, 0),
        "encode": lambda: encode(ready, distribution),
    }


def _peer(options: Options) -> list[Contestant]:
    if options.ttt is None:
        return []
    count = 20 if options.quick else 500
    checkout, python = options.ttt, options.ttt_python or Path(sys.executable)

    def run() -> Timing:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [python, RUNNER, checkout, str(count), folder],
                env=os.environ | {"PYTHONHASHSEED": "0"},
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{TTT} at {checkout} failed:\n{done.stderr[-2000:]}")
        return Timing(**json.loads(done.stdout.splitlines()[-1]))

    return [Contestant(TTT, run, count)]


if __name__ == "__main__":
    sys.exit(main("problems", measure))
