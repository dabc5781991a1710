"""More workers, more units per second: real worker processes on the cores of this machine, and on simulated hosts."""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from arith_shared import queue
from arith_shared.settings import Settings
from arith_shared.specs import Spec
from arith_shared.testing import small_spec as few_units
from arithctl.embedded import processes
from arithctl.embedded.workers import Slot, Workers
from bench import network
from bench.command import Options, main
from bench.crew import Crew, crew
from bench.machine import Machine, cores
from bench.network import COST, Network
from bench.report import Report, Table, at_least, not_measured
from bench.servers import network_broker, postgres, private_broker, programs
from bench.shards import small_spec

#: Of four hosts' ideal, and of two workers', what is wanted.
HOSTS, OF_HOSTS, OF_CORES = 4, 0.95, 1.8
#: Seconds that a unit takes on a simulated host, and units per host in a round.
COST_S, PER_HOST = 1.0, 6


def measure(options: Options, machine: Machine) -> Report:
    """Extractors and probers on two cores, then hosts."""
    report = Report(
        "Scaling: units per second with more workers",
        "Worker processes as the services start them (Celery, ledger, heartbeats, published files). All are alive "
        "and warm throughout, and told over the broker whether to take work, so that few and many take turns. The "
        "rate is counted from start to start of each worker's units.",
    )
    _on_cores(options, machine, report)
    _on_hosts(options, report)
    return report


def _on_cores(options: Options, machine: Machine, report: Report) -> None:
    if cores() < 2:
        report.targets.append(not_measured("1 -> 2 workers", f">= {OF_CORES}x", "one core"))
        return
    table = Table("Workers of one thread on the cores of this machine; embedded broker, SQLite")
    # Each kind is two processes that load torch: to see that it works, one kind will do.
    kinds = [("extractor", "extract", _extraction), ("prober", "probe", _probing)][
        : 1 if options.quick else None
    ]
    with tempfile.TemporaryDirectory() as name, _workers(Path(name), probers=not options.quick) as here:
        for kind, stage, make in kinds:
            spec = partial(make, options.quick)
            found = _take_turns(here, stage, [f"{kind}-1", f"{kind}-2"], (1, 2), options.rounds, spec)
            table.rows += _rows(kind, found)
            what = f"1 -> 2 {kind}s on two cores: units/s"
            report.targets.append(at_least(what, OF_CORES, _gain(found, 2), _why(machine)))
    report.tables.append(table)


def _on_hosts(options: Options, report: Report) -> None:
    what = f"1 -> {HOSTS} simulated hosts: share of {HOSTS} times one host's units/s"
    reason = network.why_not() or (None if programs() else "no PostgreSQL server is installed")
    if reason is not None:
        report.targets.append(not_measured(what, f">= {OF_HOSTS}", reason))
        return
    cost, each = (0.2, 4) if options.quick else (COST_S, PER_HOST)
    everybody = [f"host-{number}" for number in range(HOSTS)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = stack.enter_context(network.network(HOSTS))
        here = stack.enter_context(_hosts(folder, net, cost))
        found = _take_turns(here, "extract", everybody, (1, HOSTS), options.rounds, partial(_sleeping, each))
    table = Table(
        f"Network namespaces on a bridge, one worker each; a unit sleeps {cost:g} s; PostgreSQL and Redis over the "
        "bridge, heartbeats every 0.25 s",
        _rows("host", found),
    )
    for row, (count, rates) in zip(table.rows, found.items(), strict=True):
        row["share of sleeping alone"] = statistics.median(rates) * cost / count
    report.tables.append(table)
    share = _gain(found, HOSTS) / HOSTS
    report.targets.append(
        at_least(what, OF_HOSTS, share, "the same cores run all hosts and both servers", unit="")
    )


def _take_turns(
    here: Crew,
    stage: str,
    everybody: Sequence[str],
    counts: Sequence[int],
    rounds: int,
    spec: Callable[[int, int], Spec],
) -> dict[int, list[float]]:
    """Units per second by number of workers, round by round; a first turn of all warms them up.

    `stage` is also the name of their queue; `spec` makes one of a number of its own and how many workers there are.
    """
    found: dict[int, list[float]] = {count: [] for count in counts}
    here.at_work(stage, everybody, everybody)
    here.rate(spec(0, counts[-1]), stage)
    numbers = itertools.count(1)
    for turn in range(rounds):
        for count in counts:
            here.at_work(stage, everybody[:count], everybody)
            found[count].append(here.rate(spec(next(numbers), count), stage))
        sys.stdout.write(f"  {everybody[0]} and others, round {turn + 1}/{rounds}\n")
        sys.stdout.flush()
    return found


def _rows(kind: str, found: dict[int, list[float]]) -> list[dict[str, object]]:
    return [
        {
            "worker": kind,
            "workers": count,
            "units/s": statistics.median(rates),
            "of one": _gain(found, count),
            "from": min(_gains(found, count)),
            "to": max(_gains(found, count)),
        }
        for count, rates in found.items()
    ]


def _gain(found: dict[int, list[float]], count: int) -> float:
    return statistics.median(_gains(found, count))


def _gains(found: dict[int, list[float]], count: int) -> list[float]:
    """How many times one worker's rate, within each round."""
    return [many / one for many, one in zip(found[count], found[1], strict=True)]


def _why(machine: Machine) -> str:
    rates = list(machine["gemm_fp32_gflops"].values())
    return (
        f"the cores share memory, caches and clock (matrix products alone gain {rates[-1] / rates[0]:.2f}x from all "
        "cores), and the servers, the workers' parents and this bench need some of them too"
    )


def _extraction(quick: bool, number: int, workers: int) -> Spec:
    """Eight shards, for one worker as for two."""
    size = 20 if quick else 500
    return small_spec(
        "tiny-specialized", size, seed=number, extract__n_train=7 * size, extract__n_eval=size,
        extract__batch_problems=min(size, 250), probe__untrained=False,
    )  # fmt: skip


def _probing(quick: bool, number: int, workers: int) -> Spec:
    """Eight blocks, on the same shards each time; they differ in a number of no weight, so that none is reused."""
    size = 40 if quick else 500
    return small_spec(
        "tiny-specialized", size, extract__n_train=2 * size, extract__n_eval=size, extract__layers=[1, 2],
        extract__positions=list(range(16)), probe__block_positions=4, probe__resamples=20 + number,
        probe__untrained=False,
    )  # fmt: skip


def _sleeping(each: int, number: int, workers: int) -> Spec:
    """As many units for each host as for one."""
    spec = few_units(extract={"n_train": workers * each - 2, "n_eval": 2, "shard_problems": 1})
    return spec.model_copy(update={"seed": number})


@contextmanager
def _workers(folder: Path, *, probers: bool) -> Iterator[Crew]:
    """Two extractors and two probers of one thread each, as the embedded mode starts them."""
    with private_broker(folder) as broker_url:
        settings = Settings(
            home=folder,
            broker_url=SecretStr(broker_url),
            database_url=SecretStr(f"sqlite:///{folder}/arith.db"),
        )
        slots = [Slot("extract", f"extractor-{number}", 1) for number in (1, 2)]
        slots += [Slot("probe", f"prober-{number}", 1) for number in (1, 2) if probers]
        with crew(settings, "bench.crew:untrained") as here:
            workers = Workers(settings, slots)
            workers.start()
            try:
                here.wait_for(len(slots))
                yield here
            finally:
                workers.stop()


@contextmanager
def _hosts(folder: Path, net: Network, cost_s: float) -> Iterator[Crew]:
    """A worker on each host; ledger and broker are reached over the bridge, files lie in one folder."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres(net.address))
        if server is None:
            raise RuntimeError("the PostgreSQL server that was installed a moment ago is gone")
        broker_url = stack.enter_context(network_broker(folder, net.address))
        database_url = server.new_database()
        settings = Settings(
            home=folder, broker_url=SecretStr(broker_url), database_url=SecretStr(database_url)
        )
        here = stack.enter_context(crew(settings, "arith_shared.testing:fake_handler"))
        env = {name: value for name, value in os.environ.items() if not name.startswith("ARITH_")} | {
            COST: str(cost_s),
            "ARITH_HOME": str(folder),
            "ARITH_BROKER_URL": broker_url,
            "ARITH_DATABASE_URL": database_url,
            "ARITH_HEARTBEAT_S": "0.25",
            "ARITH_LEASE_S": "20",
        }
        for number, host in enumerate(net.hosts):
            arguments = queue.worker_arguments("bench.sleeper", "extract", f"host-{number}")
            command = net.command(host, [sys.executable, "-m", "celery", *arguments])
            worker = processes.start(command, folder / "logs" / f"host-{number}.log", env)
            stack.callback(processes.stop, worker, 20.0)
        here.wait_for(len(net.hosts))
        yield here


if __name__ == "__main__":
    sys.exit(main("scaling", measure))
