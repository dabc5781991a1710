"""More workers, more units per second: real worker processes on the cores of this machine, and on simulated hosts."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from bench.servers import network_broker, postgres, private_broker
from bench.shards import small_spec

#: Of four hosts' ideal, and of two workers', what is wanted.
HOSTS, OF_HOSTS, OF_CORES = 4, 0.95, 1.8
#: Seconds that a unit takes on a simulated host, and units per host in a round.
COST_S, PER_HOST = 1.0, 6
#: Units of a stage in a round, however many workers share them.
UNITS = 10


def measure(options: Options, machine: Machine) -> Report:
    """Extractors and probers on two cores, then hosts."""
    report = Report(
        "Scaling: units per second with more workers",
        "Worker processes as the services start them (Celery, ledger, heartbeats, published files). All are alive and "
        "warm throughout, and told over the broker whether to take work, so that few and many take turns. The rate is "
        "counted from start to start of each worker's units.",
    )
    _on_cores(options, machine, report)
    _on_hosts(options, report)
    return report


def _on_cores(options: Options, machine: Machine, report: Report) -> None:
    if cores() < 2:
        report.targets.append(not_measured("1 -> 2 workers", f">= {OF_CORES}x", "one core"))
        return
    table = Table("Workers of one thread on the cores of this machine; embedded broker, SQLite")
    many = 4 if options.quick else UNITS
    with tempfile.TemporaryDirectory() as name, _workers(Path(name)) as here:
        for kind, stage, spec in (("extractor", "extract", _extraction), ("prober", "probe", _probing)):
            everybody = [f"{kind}-1", f"{kind}-2"]
            found = _take_turns(here, stage, stage, everybody, (1, 2), options.rounds,
                                lambda number, count, spec=spec: spec(options.quick, many, number))  # fmt: skip
            table.rows += _rows({"worker": kind}, found)
            report.targets.append(
                at_least(f"1 -> 2 {kind}s on two cores: units/s", OF_CORES, _gain(found, 2), _why(machine))
            )
    report.tables.append(table)


def _on_hosts(options: Options, report: Report) -> None:
    what = f"1 -> {HOSTS} simulated hosts: share of {HOSTS} times one host's units/s"
    with postgres() as probe:
        reason = network.why_not() or ("no PostgreSQL server is installed" if probe is None else None)
    if reason is not None:
        report.targets.append(not_measured(what, f">= {OF_HOSTS}", reason))
        report.notes.append(f"No simulated hosts: {reason}.")
        return
    cost, each = (0.2, 3) if options.quick else (COST_S, PER_HOST)
    with (
        tempfile.TemporaryDirectory() as name,
        network.network(HOSTS) as net,
        _hosts(Path(name), net, cost) as here,
    ):
        everybody = [f"host-{number}" for number in range(HOSTS)]
        found = _take_turns(
            here, "extract", "extract", everybody, (1, HOSTS), options.rounds,
            lambda number, count: few_units(
                extract={"n_train": count * each - 2, "n_eval": 2, "shard_problems": 1}
            ).model_copy(update={"seed": number}),
        )  # fmt: skip
    rows = _rows({"worker": "host"}, found)
    for row, (count, rates) in zip(rows, found.items(), strict=True):
        row["share of no overhead at all"] = statistics.median(rates) * cost / count
    report.tables.append(
        Table(
            f"Network namespaces on a bridge, one worker each; a unit sleeps {cost:g} s; PostgreSQL and Redis over the "
            "bridge, heartbeats every 0.25 s",
            rows,
        )
    )
    report.targets.append(
        at_least(
            what, OF_HOSTS, _gain(found, HOSTS) / HOSTS, "two cores run all hosts and both servers", unit=""
        )
    )


def _take_turns(
    here: Crew,
    queue_name: str,
    stage: str,
    everybody: Sequence[str],
    counts: Sequence[int],
    rounds: int,
    spec: Callable[[int, int], Spec],
) -> dict[int, list[float]]:
    """Units per second with so many workers, round by round; a first turn of all warms them up."""
    found: dict[int, list[float]] = {count: [] for count in counts}
    here.at_work(queue_name, everybody, everybody)
    here.rate(spec(0, counts[-1]), stage)
    number = 0
    for turn in range(rounds):
        for count in counts:
            number += 1
            here.at_work(queue_name, everybody[:count], everybody)
            found[count].append(here.rate(spec(number, count), stage))
        sys.stdout.write(f"  {everybody[0]} and others, round {turn + 1}/{rounds}\n")
        sys.stdout.flush()
    return found


def _rows(case: dict[str, object], found: dict[int, list[float]]) -> list[dict[str, object]]:
    rows = []
    first = next(iter(found.values()))
    for count, rates in found.items():
        gains = [mine / one for mine, one in zip(rates, first, strict=True)]
        rows.append(
            {
                **case,
                "workers": count,
                "units/s": statistics.median(rates),
                "of one": statistics.median(gains),
                "from": min(gains),
                "to": max(gains),
            }
        )
    return rows


def _gain(found: dict[int, list[float]], count: int) -> float:
    one, many = found[1], found[count]
    return statistics.median(mine / single for mine, single in zip(many, one, strict=True))


def _why(machine: Machine) -> str:
    rates = machine["gemm_fp32_gflops"]
    two = rates[str(cores())] / rates["1"] if str(cores()) in rates else float("nan")
    return (
        f"the cores share their memory, caches and clock: matrix products alone gain {two:.2f}x from {cores()} threads, "
        "and the servers, the parents of the workers and this bench need some of the cores too"
    )


def _extraction(quick: bool, units: int, number: int) -> Spec:
    size = 20 if quick else 500
    return small_spec(
        "tiny-specialized", size, seed=number, extract__n_train=(units - 1) * size, extract__n_eval=size,
        extract__batch_problems=min(size, 250),
    )  # fmt: skip


def _probing(quick: bool, units: int, number: int) -> Spec:
    """The same shards each time, and probes that differ in a number of no weight, so that none is reused."""
    size = 40 if quick else 1_000
    return small_spec(
        "tiny-specialized", size, extract__n_train=2 * size, extract__n_eval=size, extract__layers=[1, 2],
        extract__positions=list(range(2 * units)), probe__block_positions=4, probe__resamples=20 + number,
        probe__untrained=False,
    )  # fmt: skip


@contextmanager
def _workers(folder: Path) -> Iterator[Crew]:
    """Two extractors and two probers of one thread each, as the embedded mode starts them."""
    with private_broker(folder) as broker_url:
        settings = Settings(
            home=folder,
            broker_url=SecretStr(broker_url),
            database_url=SecretStr(f"sqlite:///{folder}/arith.db"),
        )
        slots = [
            Slot("extract" if kind == "extractor" else "probe", f"{kind}-{number}", 1)
            for kind in ("extractor", "prober")
            for number in (1, 2)
        ]
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
