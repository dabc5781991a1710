"""`python -m soak`: tiny runs under random faults for a while; exit status 1 if a promise was broken.

The faults, their order and all that is random about them follow from the seed; when exactly each one strikes depends
on the machine, so a seed repeats a story and not an instant.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from harness.postgres import Postgres, programs
from soak.faults import inflict_one, pace
from soak.parts import FAKE, REAL, Part
from soak.people import People
from soak.report import PartReport, progress, report_of, text
from soak.world import World

#: Seconds between two looks at all runs.
LOOK_S = 0.5
#: Seconds that runs may take to end once nothing is broken any more.
SETTLE_S = 900.0
#: Seconds between two lines of progress.
PROGRESS_S = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, and with what."""

    seed: int
    seconds: float
    folder: Path
    postgres: Postgres | None


@click.command()
@click.option("--minutes", type=float, default=20.0, show_default=True, help="How long faults go on.")
@click.option(
    "--seed", type=int, default=None, help="Repeat the faults of an earlier soak; without it, new ones."
)
@click.option("--database", type=click.Choice(["sqlite", "postgresql"]), default="sqlite", show_default=True)
@click.option("--real-share", type=click.FloatRange(0, 1), default=0.25, show_default=True,
              help="Part of the time with the real trainer, extractor and prober.")  # fmt: skip
@click.option(
    "--keep", is_flag=True, help="Leave logs, database and files behind in any case, and say where."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def main(
    minutes: float, seed: int | None, database: str, real_share: float, *, keep: bool, as_json: bool
) -> None:
    """Kill, stop, cut off and fill up whatever a run needs, and see that nothing is lost and nothing counts twice.

    Example: python -m soak --minutes 20 --seed 7 --database postgresql
    """
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}", err=True)
    # The reference runs are computed in this process as in the workers: on one thread.
    os.environ |= {"ARITH_THREADS": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    # Whoever ends this process ends all that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="arith-soak-"))
    with _postgres(database) as postgres:
        shares = ((FAKE, 1 - real_share), (REAL, real_share))
        parts = [
            soak(part, Plan(seed, 60 * minutes * share, folder / part.name, postgres))
            for part, share in shares
            if share
        ]
    is_clean = all(part.found.is_clean for part in parts)
    if as_json:
        facts = {"seed": seed, "database": database, "clean": is_clean}
        click.echo(json.dumps(facts | {"parts": [part.facts() for part in parts]}, indent=2))
    else:
        click.echo("\n".join([f"seed {seed}, {database}", *map(text, parts)]))
    if not is_clean:
        click.echo("a promise was broken", err=True)
    if keep or not is_clean:
        click.echo(f"{folder} has the faults in order, all logs, the SQLite database and the files", err=True)
    else:
        shutil.rmtree(folder)
    sys.exit(0 if is_clean else 1)


@contextlib.contextmanager
def _postgres(database: str) -> Iterator[Postgres | None]:
    if database == "sqlite":
        yield None
        return
    found = programs()
    if found is None:
        raise click.ClickException(
            "PostgreSQL is not installed (apt-get install postgresql); or --database sqlite"
        )
    with contextlib.closing(Postgres(found)) as server:
        yield server


def soak(part: Part, plan: Plan) -> PartReport:
    """One part: faults until the time is over or a promise is broken, then peace until all runs have ended."""
    plan.folder.mkdir()
    with World(plan.folder, part, plan.postgres) as world, ThreadPoolExecutor(1) as beside:
        people = People(world, random.Random(f"{plan.seed} {part.name} people"))
        if part.is_fake:
            world.deployment.break_units(pace(random.Random(f"{plan.seed} pace")))
        started = time.monotonic()
        # Beside the people: a database that makes them wait must not keep the next fault waiting too.
        breaking = beside.submit(_break_things, world, people, plan, started)
        try:
            _live_with_it(people, plan, started, breaking)
        finally:
            world.at_peace.set()
        breaking.result()
        world.calm()
        give_up = time.monotonic() + SETTLE_S
        while people.is_waiting and people.found.is_clean and time.monotonic() < give_up:
            people.look()
            time.sleep(LOOK_S)
        people.look()
        people.close()
        found = people.found
    return report_of(world, found, time.monotonic() - started)


def _break_things(world: World, people: People, plan: Plan, started: float) -> None:
    rng = random.Random(f"{plan.seed} {world.part.name} faults")
    number, next_fault, last_fault, end_then = 0, started + 5.0, started, 0.0
    while (clock := time.monotonic()) < started + plan.seconds and people.found.is_clean:
        if world.at_peace.is_set():
            return
        is_moving = people.latest_end > end_then or clock > last_fault + world.part.patience_s
        if clock >= next_fault and is_moving:
            # A generator for each fault: how often one of them asks must not change the next.
            inflict_one(world, random.Random(f"{plan.seed} {world.part.name} {number}"))
            number, next_fault = number + 1, clock + world.part.pause(rng)
            last_fault, end_then = clock, people.latest_end
        time.sleep(LOOK_S)


def _live_with_it(people: People, plan: Plan, started: float, breaking: Future[None]) -> None:
    next_line = started
    while not breaking.done():
        people.look()
        people.act()
        if (clock := time.monotonic()) >= next_line:
            click.echo(progress(people, clock - started, plan.seconds), err=True)
            next_line = clock + PROGRESS_S
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main()
