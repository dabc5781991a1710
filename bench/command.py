"""The command line that all benches share."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import machine, page
from bench.report import Report


@dataclass(frozen=True, slots=True)
class Options:
    """How a bench is run."""

    #: Small sizes and one round: shows that it works, measures nothing.
    quick: bool
    rounds: int
    #: Thread counts to measure with: one, and all cores.
    threads: tuple[int, ...]
    #: A checkout of keitokudo/TTT, and the Python that can import what it needs.
    ttt: Path | None
    ttt_python: Path | None


Measure = Callable[[Options, machine.Machine], Report]


def main(name: str, measure: Measure, arguments: list[str] | None = None) -> int:
    """Run one bench, keep its figures and write the page anew."""
    options, out = parse(f"python -m bench.{name}", arguments)
    run(name, measure, options, out)
    return 0


def run(name: str, measure: Measure, options: Options, out: Path) -> None:
    """Measure the machine, then the bench; `out` gets `benchmarks/NAME.json` and `benchmarks.md`."""
    sys.stdout.write(f"{name}\n")
    start = time.monotonic()
    floor = machine.describe(options.quick)
    report = measure(options, floor)
    facts = {
        "command": f"python -m bench.{name}" + (" --quick" if options.quick else ""),
        "rounds": options.rounds,
        "seconds": time.monotonic() - start,
        "machine": floor,
        "load_average_after": os.getloadavg()[0],
    }
    report.save(out / "benchmarks" / f"{name}.json", facts)
    (out / "benchmarks.md").write_text(page.render(out / "benchmarks"), encoding="utf-8")
    for target in report.targets:
        sys.stdout.write(f"  {target.verdict}: {target.what}: wanted {target.wanted}, found {target.found}\n")


def parse(program: str, arguments: list[str] | None = None) -> tuple[Options, Path]:
    """Options, and the folder for figures and page."""
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: to see that it works")
    parser.add_argument("--rounds", type=int, help="turns of each contestant (default 5)")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for benchmarks.md and benchmarks/ (default docs; .bench with --quick)",
    )
    parser.add_argument(
        "--ttt", type=Path, help="a checkout of keitokudo/TTT; without it this peer is left out"
    )
    parser.add_argument(
        "--ttt-python", type=Path, help="the Python that has what TTT needs (default: this one)"
    )
    given = parser.parse_args(arguments)
    if given.rounds is not None and given.rounds < 1:
        parser.error(f"--rounds: expected at least 1, found {given.rounds}")
    if given.ttt is not None and not given.ttt.is_dir():
        parser.error(f"--ttt: expected a folder, found {given.ttt}")
    rounds = given.rounds or (1 if given.quick else 5)
    threads = (1,) if given.quick else tuple(sorted({1, machine.cores()}))
    options = Options(given.quick, rounds, threads, given.ttt, given.ttt_python)
    return options, given.out or Path(".bench" if given.quick else "docs")
