"""The faults: each happens to real processes, and each leaves it to the world's nurse to end it.

A fault that finds nothing to break just now says so by returning False, and another is chosen.
"""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass

import redis
from sqlalchemy import select

from arith_shared import queue
from arith_shared.errors import UnreachableError
from arith_shared.failpoints import FAILPOINTS
from arith_shared.ledger.reconcile import Message
from arith_shared.ledger.tables import Unit
from harness import processes
from soak.world import SCHEDULERS, WORKERS, World

Fault = Callable[[World, random.Random], bool]

#: Copies of a message that are sent at once.
COPIES = 10


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault, chosen in proportion to its weight where it is possible."""

    name: str
    weight: int
    inflict: Fault
    #: `sqlite` or `postgresql` if only that can have it, `fake` if only fake work can.
    only: str = ""


KINDS: list[Kind] = []


def fault(name: str, weight: int, only: str = "") -> Callable[[Fault], Fault]:
    """Register a kind of fault."""

    def register(inflict: Fault) -> Fault:
        KINDS.append(Kind(name, weight, inflict, only))
        return inflict

    return register


def inflict_one(world: World, rng: random.Random) -> None:
    """Choose a fault and let it happen; nothing happens if none of a few is possible."""
    traits = {
        "",
        "sqlite" if world.postgres is None else "postgresql",
        "fake" if world.part.is_fake else "real",
    }
    kinds = [kind for kind in KINDS if kind.only in traits]
    for kind in rng.choices(kinds, [kind.weight for kind in kinds], k=5):
        with world.lock:
            if kind.inflict(world, rng):
                world.note(kind.name)
                # A failpoint counts when it is reached.
                world.faults[kind.name] += kind.name != "failpoint"
                return


# Processes


@fault("worker SIGKILL", 6)
def _kill_worker(world: World, rng: random.Random) -> bool:
    world.deployment.services[rng.choice(WORKERS)].send(signal.SIGKILL)
    return True


@fault("pool child SIGKILL", 6)
def _kill_child(world: World, rng: random.Random) -> bool:
    service = world.deployment.services[rng.choice(WORKERS)]
    children = sorted(processes.descendants(service.pid))
    if not children:
        return False
    processes.send(signal.SIGKILL, rng.choice(children))
    return True


@fault("worker SIGSTOP past its lease", 4)
def _stop_worker(world: World, rng: random.Random) -> bool:
    service = world.deployment.services[rng.choice(WORKERS)]
    for pid in (service.pid, *processes.descendants(service.pid)):
        processes.send(signal.SIGSTOP, pid)
    return True


@fault("pool child SIGSTOP past its lease", 4)
def _stop_child(world: World, rng: random.Random) -> bool:
    service = world.deployment.services[rng.choice(WORKERS)]
    for pid in processes.descendants(service.pid):
        processes.send(signal.SIGSTOP, pid)
    return True


@fault("worker SIGTERM", 5)
def _terminate_worker(world: World, rng: random.Random) -> bool:
    service = world.deployment.services[rng.choice(WORKERS)]
    service.send(signal.SIGTERM, service.pid)
    return True


@fault("reconciler SIGKILL", 4)
def _kill_scheduler(world: World, rng: random.Random) -> bool:
    world.deployment.services[SCHEDULERS[0]].send(signal.SIGKILL)
    return True


@fault("reconciler SIGSTOP", 2)
def _stop_scheduler(world: World, rng: random.Random) -> bool:
    service = world.deployment.services[SCHEDULERS[0]]
    service.send(signal.SIGSTOP, service.pid)
    return True


@fault("two reconcilers", 3)
def _second_scheduler(world: World, rng: random.Random) -> bool:
    if SCHEDULERS[1] in world.deployment.services:
        return False
    world.start(SCHEDULERS[1])
    with world.breaking(SCHEDULERS[1]) as mend:
        mend(rng.uniform(5, 20), lambda: world.end(SCHEDULERS[1]))
    return True


@fault("worker with a clock an hour off", 2, only="fake")
def _wrong_clock(world: World, rng: random.Random) -> bool:
    world.start(rng.choice(WORKERS), TEST_CLOCK_OFF=rng.choice(["3600", "-3600"]))
    return True


@fault("failpoint", 10)
def _failpoint(world: World, rng: random.Random) -> bool:
    names = [name for name in FAILPOINTS if name != "submit.before_commit"]
    return world.fail_at(rng.choice(names), rng.choice(["kill", "kill", "raise", "stop"]))


# Work


@fault("work that fails, kills its process or outlasts nothing", 4, only="fake")
def _bad_work(world: World, rng: random.Random) -> bool:
    if "work" in world.broken:
        return False
    bad = {
        key: rng.choice([{"raise": "no luck"}, {"kill": True}, {"sleep_s": 2.0}])
        for key in rng.sample(UNIT_KEYS, 3)
    }
    world.deployment.break_units(pace(rng) | bad)
    with world.breaking("work") as mend:
        mend(rng.uniform(3, 8), lambda: world.deployment.break_units(pace(rng)))
    return True


#: Units of a fake run.
UNIT_KEYS = (
    "model",
    *(f"trained/{split}/{number:05d}" for split in ("probe", "test") for number in range(3)),
    *(f"trained/layer-{layer:02d}/position-{position:03d}" for layer in (0, 1) for position in (0, 10)),
    "summary",
)


def pace(rng: random.Random) -> dict[str, dict[str, float]]:
    """How long each fake unit takes: long enough to be hit."""
    return {key: {"sleep_s": rng.uniform(0.0, 0.5), "attempts": 99} for key in UNIT_KEYS}


# Messages


@fault("messages doubled, of late and of past attempts", 5)
def _double_messages(world: World, rng: random.Random) -> bool:
    if "broker" in world.broken:
        return False
    with world.deployment.reading() as session:
        units = session.execute(
            select(Unit.id, Unit.attempt, Unit.queue).order_by(Unit.id.desc()).limit(40)
        ).all()
    if not units:
        return False
    sender = queue.Sender(world.broker.url)
    with contextlib.suppress(UnreachableError):
        for unit_id, attempt, queue_name in rng.choices(units, k=3):
            for number in range(COPIES):
                sender(Message(unit_id, max(1, attempt - number % 2), queue_name))
    sender.close()
    return True


# The broker


@fault("broker kill -9, back empty", 3)
def _broker_forgets(world: World, rng: random.Random) -> bool:
    return _kill_broker(world, rng, empty=True)


@fault("broker kill -9, back with its log", 3)
def _broker_remembers(world: World, rng: random.Random) -> bool:
    return _kill_broker(world, rng, empty=False)


def _kill_broker(world: World, rng: random.Random, *, empty: bool) -> bool:
    if "broker" in world.broken:
        return False
    world.broker.kill()
    with world.breaking("broker") as mend:
        mend(rng.uniform(0.2, 6), lambda: world.restart_broker(empty=empty))
    return True


@fault("FLUSHALL", 4)
def _flush(world: World, rng: random.Random) -> bool:
    if "broker" in world.broken:
        return False
    world.broker.client.flushall()
    return True


@fault("broker maxmemory", 2)
def _fill_broker(world: World, rng: random.Random) -> bool:
    if "broker" in world.broken:
        return False
    world.broker.client.config_set("maxmemory", 1)

    def empty_it() -> None:
        with contextlib.suppress(redis.RedisError):
            world.broker.client.config_set("maxmemory", 0)

    with world.breaking("broker") as mend:
        mend(rng.uniform(2, 5), empty_it)
    return True


@fault("broker connections reset", 2)
def _drop_broker(world: World, rng: random.Random) -> bool:
    world.broker_proxy.drop()
    return True


@fault("broker connections half-open", 1)
def _silence_broker(world: World, rng: random.Random) -> bool:
    rng.choice([world.broker_proxy.silence, world.broker_proxy.swallow_answers])()
    return True


# The database


@fault("PostgreSQL immediate restart", 3, only="postgresql")
def _restart_postgres(world: World, rng: random.Random) -> bool:
    if "database" in world.broken or world.postgres is None:
        return False
    world.postgres.stop()
    with world.breaking("database") as mend:
        mend(rng.uniform(0.2, 6), world.postgres.start)
    return True


@fault("database connections reset", 3, only="postgresql")
def _drop_database(world: World, rng: random.Random) -> bool:
    world.database_proxy.drop()
    return True


@fault("database connections half-open, then reset", 3, only="postgresql")
def _silence_database(world: World, rng: random.Random) -> bool:
    if "database" in world.broken:
        return False
    rng.choice([world.database_proxy.silence, world.database_proxy.swallow_answers])()
    with world.breaking("database") as mend:
        mend(rng.uniform(1, world.thaw_s), world.database_proxy.drop)
    return True


@fault("database slow", 2, only="postgresql")
def _slow_database(world: World, rng: random.Random) -> bool:
    if "database" in world.broken:
        return False
    world.database_proxy.delay_s = rng.uniform(0.02, 0.2)

    def quicken() -> None:
        world.database_proxy.delay_s = 0.0

    with world.breaking("database") as mend:
        mend(rng.uniform(2, 6), quicken)
    return True


@fault("SQLite locked", 3, only="sqlite")
def _lock_sqlite(world: World, rng: random.Random) -> bool:
    if "database" in world.broken:
        return False
    return world.lock_sqlite(rng.uniform(0.5, 5))
