"""Hosts that are not there: Linux network namespaces, each with an address of its own, on one bridge."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

#: Names the seconds that a unit takes on such a host.
COST = "ARITH_BENCH_COST_S"


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge with hosts on it."""

    #: Where this machine itself is reached by the hosts.
    address: str
    #: Names of the namespaces.
    hosts: tuple[str, ...]

    @staticmethod
    def command(host: str, command: Sequence[str]) -> list[str]:
        """`command` as it is run on a host; it replaces itself, so its process id is that of `command`."""
        return ["ip", "netns", "exec", host, *command]


def why_not() -> str | None:
    """Why there can be no network here, if so."""
    if shutil.which("ip") is None:
        return "`ip` (iproute2) is not installed"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    try:
        with network(1):
            return None
    except subprocess.CalledProcessError as error:
        return f"network namespaces are refused here: {error.stderr.strip()}"


@contextmanager
def network(hosts: int) -> Iterator[Network]:
    """So many hosts for the length of a block; everything is removed when it ends, also by Ctrl-C or SIGTERM."""
    mine, subnet = os.getpid(), f"10.213.{os.getpid() % 250}"
    bridge = f"arb{mine}"
    with _terminated_as_interrupted(), ExitStack() as undo:
        _ip("link", "add", bridge, "type", "bridge")
        undo.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{subnet}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        names = []
        for number in range(hosts):
            host, cable = f"arith-{mine}-{number}", f"arv{mine}h{number}"
            _ip("netns", "add", host)
            undo.callback(_ip, "netns", "del", host)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", host)
            # The kernel removes it with the namespace, but a little later: a next network may want its name.
            undo.callback(_ip, "link", "del", cable)
            _ip("link", "set", cable, "master", bridge, "up")
            _ip("-n", host, "addr", "add", f"{subnet}.{number + 2}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "eth0", "up")
            _ip("-n", host, "link", "set", "lo", "up")
            names.append(host)
        yield Network(f"{subnet}.1", tuple(names))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the block as an exception does, so that what it has made is removed."""

    def end(*_: Any) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
