"""What the queue costs per unit, with a thousand to a hundred thousand units waiting: the same, it should be."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kombu.simple import SimpleQueue

from arith_shared import queue
from arith_shared.ledger import reconcile, runs, schema, units, views, workers
from arith_shared.ledger.database import Database
from arith_shared.ledger.units import Claim, NewArtifact
from arith_shared.testing import small_spec
from bench.command import Options, main
from bench.machine import Machine
from bench.report import Report, Table, at_most, not_measured
from bench.servers import postgres, private_broker

WAITING, QUICK = (1_000, 10_000, 100_000), (20, 40)
#: Units that each ledger passes through in a round.
PER_ROUND = 60
#: What one unit costs, and what is done now and then besides.
PER_UNIT, BESIDES = ("dispatch", "receive", "claim", "heartbeat", "finish"), ("reconciler's tick", "status")
#: How much longer a step may take with the most units waiting than with the fewest, still to be called flat.
FLAT = 1.25


def measure(options: Options, machine: Machine) -> Report:
    """Ledgers of three sizes take turns, unit by unit."""
    sizes = QUICK if options.quick else WAITING
    report = Report(
        "What the queue costs per unit, while many units wait",
        "One run whose stage `extract` has so many units; a worker's part is played with the ledger's own functions "
        "and real messages through a broker, without Celery's processes and without any work: dispatch (choose, "
        "commit, send), receive, claim, heartbeat, finish. The ledgers of one kind take turns unit by unit. "
        "Wall milliseconds, medians; PostgreSQL without fsync.",
    )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(postgres())
        for kind in ("SQLite", "PostgreSQL"):
            if kind == "PostgreSQL" and server is None:
                report.targets.append(
                    not_measured(f"{kind}, dispatch", f"<= {FLAT}x", "no PostgreSQL server is installed")
                )
                continue
            urls = [server.new_database() if kind == "PostgreSQL" and server else
                    f"sqlite:///{folder}/{size}.db" for size in sizes]  # fmt: skip
            with ExitStack() as ledgers:
                played = [
                    ledgers.enter_context(ledger(url, size, folder / f"{kind}-{size}"))
                    for url, size in zip(urls, sizes, strict=True)
                ]
                for number in range(options.rounds):
                    play(played, 5 if options.quick else PER_ROUND)
                    sys.stdout.write(f"  {kind}, round {number + 1}/{options.rounds}\n")
                    sys.stdout.flush()
            report.tables.append(table(kind, played))
            least, most = (each.per_unit() for each in (played[0], played[-1]))
            what = f"{kind}: time per unit with {sizes[-1]:,} units waiting / {sizes[0]:,}"
            report.targets.append(at_most(what, FLAT, most / least, WHY))
    report.notes.append(
        "Floor: none of FLOPs or bytes; two transactions and a message per unit, each of some statements that an "
        "index answers."
    )
    return report


WHY = "the table shows which step grows"


@dataclass(slots=True)
class Played:
    """A ledger with its broker, and how long each step took."""

    waiting: int
    database: Database
    sender: queue.Sender
    inbox: SimpleQueue
    run: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Count the block as one turn of `step`."""
        start = time.perf_counter()
        yield
        self.seconds[step].append(time.perf_counter() - start)

    def unit(self) -> None:
        """One unit from `ready` to `done`."""
        with self.timed("dispatch"):
            reconcile.deliver(self.database, self.sender, resend_s=600.0)
        with self.timed("receive"):
            message = self.inbox.get(timeout=10)
            message.ack()
        unit_id, attempt = message.payload[0]
        with self.timed("claim"), self.database.transaction() as session:
            held = units.claim(
                session, unit_id, attempt, owner=uuid.uuid4().hex, worker_id="bench", host="here", lease_s=600.0
            )  # fmt: skip
        if held is None:
            raise RuntimeError(f"message of unit {unit_id} was stale: this ledger is the bench's own")
        with self.timed("heartbeat"), self.database.transaction() as session:
            units.heartbeat(session, held, units.Report(1, 2, "problems"), 600.0)
        artifact = NewArtifact(held.content_key, "states", held.content_key, "digest", 1, facts(held))
        with self.timed("finish"), self.database.transaction() as session:
            units.finish(session, held, artifact, {})

    def besides(self) -> None:
        """What happens every second or so, however many units are done in it."""
        with self.timed("reconciler's tick"):
            reconcile.tick(self.database, self.sender, resend_s=600.0, retry_s=1.0)
        with self.timed("status"), self.database.reading() as session:
            views.run_view(session, self.run)

    def median(self, step: str) -> float:
        """Seconds of a step."""
        return statistics.median(self.seconds[step])

    def per_unit(self) -> float:
        """Seconds of all that one unit costs."""
        return sum(map(self.median, PER_UNIT))


def play(ledgers: list[Played], count: int) -> None:
    """Let each pass `count` units through, taking turns."""
    for number in range(count):
        for each in ledgers[number % len(ledgers) :] + ledgers[: number % len(ledgers)]:
            each.unit()
            if number % 10 == 0:
                each.besides()


def facts(held: Claim) -> dict[str, object]:
    """What the extractor would say of a shard, all of it solved."""
    count = held.payload.get("count", 0)
    return {**held.payload, "tried": count, "solved": count, "kept": count}


@contextmanager
def ledger(url: str, waiting: int, folder: Path) -> Iterator[Played]:
    """A ledger of one run with so many units in `extract`, two of which are in the broker, and its broker."""
    folder.mkdir()
    with private_broker(folder) as broker_url, closing(Database(url)) as database:
        schema.upgrade(database)
        spec = small_spec(extract={"n_train": waiting, "n_eval": 2, "shard_problems": 1})
        with database.transaction() as session:
            run = runs.submit(session, spec, recipe="bench").id
            workers.report(session, "bench", host="here", pid=1, queue="extract", version="0")
        with closing(queue.Sender(broker_url)) as sender:
            app = queue.make_app(broker_url)
            with app.connection_for_read() as connection:
                played = Played(waiting, database, sender, connection.SimpleQueue("train"), run)
                played.unit()
                played.inbox = connection.SimpleQueue("extract")
                played.unit()
                played.seconds.clear()
                yield played


def table(kind: str, ledgers: list[Played]) -> Table:
    """A row per ledger, and how the last compares with the first."""
    rows = [
        {
            "units waiting": each.waiting,
            **{f"{step} ms": 1e3 * each.median(step) for step in PER_UNIT},
            "one unit ms": 1e3 * each.per_unit(),
            **{f"{step} ms": 1e3 * each.median(step) for step in BESIDES},
        }
        for each in ledgers
    ]
    ratio = {name: value / rows[0][name] for name, value in rows[-1].items()}
    return Table(f"{kind}: wall milliseconds per unit", [*rows, {**ratio, "units waiting": "last / first"}])


if __name__ == "__main__":
    sys.exit(main("dispatch", measure))
