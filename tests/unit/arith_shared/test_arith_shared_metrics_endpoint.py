"""The endpoint is there when it is asked for, and being watched is no condition of working."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from arith_shared.errors import MissingExtraError, UserError
from arith_shared.ledger.database import Database
from arith_shared.metrics import endpoint
from arith_shared.settings import Settings
from arith_shared.testing import fresh_database


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    ledger = fresh_database(f"sqlite:///{tmp_path / 'arith.db'}")
    yield ledger
    ledger.close()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of this machine that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("port", [None, 0])
def test_without_a_port_nothing_is_served_and_the_client_is_not_loaded(database, port, monkeypatch):
    monkeypatch.setattr(endpoint, "_serve", lambda *_: pytest.fail("served"))
    endpoint.serve_ledger(Settings(metrics_port=port), database)
    endpoint.serve_worker(Settings(metrics_port=port), database, "w", ["train"])
    code = "import sys, arith_shared.job; print('prometheus_client' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_a_port_that_is_taken_is_named_with_what_to_do(database, taken):
    with pytest.raises(UserError, match=f"ARITH_METRICS_PORT={taken}: .*in use; each process .* own"):
        endpoint.serve_ledger(Settings(metrics_port=taken), database)


def test_without_the_client_the_extra_is_named(database, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "prometheus_client" else find(name)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'arithctl\[metrics\]'"):
        endpoint.serve_worker(Settings(metrics_port=9464), database, "w", ["train"])


def test_a_service_whose_port_is_taken_says_so_and_goes_on(database, taken, caplog):
    endpoint.if_possible(endpoint.serve_worker, Settings(metrics_port=taken), database, "w", ["train"])
    assert "no metrics: ARITH_METRICS_HOST=127.0.0.1" in caplog.text


def test_a_process_of_its_own_without_a_port_says_what_it_expects(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "arith_shared.metrics"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("arith_shared.metrics: ARITH_METRICS_PORT: expected the port")


def test_metrics_are_served_on_this_machine_alone_unless_said_otherwise(database):
    assert Settings().metrics_host == "127.0.0.1"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint.serve_ledger(Settings(metrics_port=port), database)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert b"arith_database_up 1.0" in answer.read()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", port), timeout=5)
