"""`arithctl dashboard` serves until it is interrupted, and says beforehand what is wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from arith_shared.stack import DEFAULT_PASSWORD


@contextlib.contextmanager
def dashboard(folder: Path, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "arithctl", "dashboard", "--port", "0", *arguments],
        cwd=folder, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ask(url: str, token: str = "") -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_a_link_with_a_new_token_and_ends_when_told_to(home, stop):
    with dashboard(home.parent) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url, token = re.fullmatch(r"dashboard: (http://127\.0\.0\.1:\d+/)login#(\S{43})\n", first).groups()
        assert process.stdout.readline() == f"token: {token}\n"
        assert process.stdout.readline() == "Ctrl-C ends it\n"
        assert ask(f"{url}runs.json", token) == 200
        assert ask(f"{url}runs.json", "wrong") == 401
        process.send_signal(stop)
        out, err = process.communicate(timeout=60)
    assert out == "dashboard: ended\n"
    assert err == ""
    assert process.returncode == 0
    assert not home.exists()


def test_a_token_that_was_given_is_printed_nowhere(home):
    token = "given-to-it-from-outside"
    with dashboard(home.parent, ARITH_DASHBOARD_TOKEN=token) as process:
        url = process.stdout.readline().removeprefix("dashboard: ").strip()
        assert ask(f"{url}runs.json", token) == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert token not in url + out + err


def test_an_empty_token_file_means_the_default_password_which_is_warned_about(home, tmp_path):
    (tmp_path / "token").write_text("")
    with dashboard(home.parent, ARITH_DASHBOARD_TOKEN_FILE="token") as process:
        url = process.stdout.readline().removeprefix("dashboard: ").strip()
        assert ask(f"{url}runs.json", DEFAULT_PASSWORD) == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert "the default password opens the dashboard" in err


def test_a_port_that_is_taken_is_said_so(cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = cli("dashboard", "--port", str(taken.getsockname()[1]))
    assert ran.code == 2
    assert "Address already in use; choose another with --port" in ran.err


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_cannot_be_is_refused(cli, port):
    assert cli("dashboard", "--port", port).code == 2


def test_it_is_not_opened_to_others_with_a_token_that_only_the_screen_knows(cli):
    ran = cli("dashboard", "--host", "0.0.0.0")  # noqa: S104 - refused
    assert ran.code == 2
    assert "--host 0.0.0.0 lets others in: set ARITH_DASHBOARD_TOKEN" in ran.err


def test_a_weak_token_is_refused_without_being_repeated(cli, monkeypatch):
    monkeypatch.setenv("ARITH_DASHBOARD_TOKEN", "hunter2")
    ran = cli("dashboard")
    assert ran.code == 2
    assert "expected at least 16 characters without spaces, found 7" in ran.err
    assert "hunter2" not in ran.err


def test_without_the_extra_it_says_what_to_install(cli, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi" else found(name))
    ran = cli("dashboard")
    assert ran.code == 2
    assert "the dashboard needs fastapi: pip install 'arithctl[dashboard]'" in ran.err


def test_neither_torch_nor_matplotlib_is_loaded_to_serve_pages(home):
    program = (
        "import sys\n"
        "from arith_shared.settings import Settings\n"
        "from arithctl.dashboard.app import application\n"
        f"application(Settings(home={str(home)!r}), 'x' * 16)\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
