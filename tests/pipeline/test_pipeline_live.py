"""The live view in a real terminal of 80 columns, and what Ctrl-C does there."""

from __future__ import annotations

import contextlib
import sys

import pytest
from rich.cells import cell_len

from harness.embedded import Home
from harness.processes import descendants, is_alive, until
from harness.terminal import CTRL_C, terminal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]
COLUMNS = 80


@pytest.fixture
def home(tmp_path) -> Home:
    return Home.new(tmp_path)


@contextlib.contextmanager
def typed(home, *arguments):
    with terminal(home.command(*arguments), cwd=home.folder, env=home.env, columns=COLUMNS) as screen:
        yield screen


def wide(lines):
    return [line for line in lines if cell_len(line) > COLUMNS]


def at_work(home, screen):
    """Wait until the first unit is shown as worked on; the processes below the command."""
    screen.shows("train/model")
    assert home.view().state == "active"
    return descendants(screen.process.pid)


def test_stages_workers_and_events_fit_into_80_columns(home):
    note = "a note that alone would take more than the eighty columns that a terminal over ssh commonly has"
    home.break_units({"model": {"sleep_s": 3}})
    with typed(home, "submit", home.recipe(seed=1), "--wait", "--name", note) as screen:
        assert screen.exit_code() == 0, screen.text
    text = screen.text
    live = screen.lines[: next(i for i, line in enumerate(screen.lines) if line.startswith("Summary"))]
    assert wide(live) == []
    assert any(line.startswith("  trainer") and line.endswith("train/model") for line in live)
    assert any(line.startswith("train ") and "0/1" in line for line in live)
    assert any(line.startswith("probe ") and "━" * 20 in line and "100%" in line for line in live)
    for words in ("idle:", "events", "submitted", "run done"):
        assert words in text


def test_ctrl_c_detaches_and_its_words_hold(home):
    home.break_units({"model": {"sleep_s": 600}})
    with typed(home, "submit", home.recipe(seed=1), "--wait") as screen:
        children = at_work(home, screen)
        screen.type(CTRL_C)
        assert screen.exit_code() == 1
    run = home.view().id
    assert "its workers belonged to this command and have ended with it" in screen.text.replace("\r\n", " ")
    assert f"`arithctl resume {run} --wait`" in screen.text
    until(lambda: not any(map(is_alive, children)))
    assert home.view().state == "active"
    home.break_units({})
    assert home.run("resume", run, "--wait").returncode == 0
    assert home.view().state == "done"


@pytest.mark.parametrize(("answer", "state"), [("y\n", "cancelled"), ("n\n", "active"), (CTRL_C, "active")])
def test_a_second_ctrl_c_asks_before_it_cancels(home, answer, state):
    home.break_units({"model": {"sleep_s": 600}})
    with typed(home, "submit", home.recipe(seed=1), "--wait") as screen:
        at_work(home, screen)
        screen.type(CTRL_C)
        screen.shows("Ctrl-C again within")
        screen.type(CTRL_C)
        screen.shows("[y/N]")
        assert home.view().state == "active"
        screen.type(answer)
        assert screen.exit_code() == 1
    assert home.view().state == state
    assert ("was cancelled" if state == "cancelled" else "detached") in screen.text


def test_a_command_that_is_not_the_engine_says_that_the_other_goes_on(home):
    gate = {"model": {"sleep_s": 600}}
    home.break_units(gate)
    with home.running(sys.executable, "host.py") as host:
        assert host.stdout.readline() == "started\n"
        with typed(home, "submit", home.recipe(seed=1), "--wait") as screen:
            at_work(home, screen)
            screen.type(CTRL_C)
            assert screen.exit_code() == 1
        assert "another command's workers go on with it" in screen.text
        assert "handing" not in screen.text
        assert home.view().stages[0].running == 1


def test_watching_changes_nothing_and_ends_with_ctrl_c(home):
    run = home.submit(seed=1)
    for arguments in ((run,), ()):
        with typed(home, "status", *arguments, "--watch") as screen:
            screen.shows("waiting for a worker")
            screen.type(CTRL_C)
            assert screen.exit_code() == 0
        assert wide(screen.lines) == []
        assert run in screen.text
        assert home.view().state == "active"


def test_a_group_is_watched_as_one(home):
    with typed(home, "submit", home.recipe(seed=1), "--sweep", "seed=1,2", "--wait") as screen:
        assert screen.exit_code() == 0, screen.text
    live = screen.lines[: next(i for i, line in enumerate(screen.lines) if line.startswith("table "))]
    assert wide(live) == []
    assert any("2 runs (2 active)" in line for line in live)
    assert any("2 runs (2 done)" in line for line in live)
    assert any(line.endswith("seed=2") for line in live)


def test_where_there_is_no_terminal_a_group_takes_a_line_per_change(home):
    ran = home.run("submit", home.recipe(seed=1), "--sweep", "seed=1,2", "--wait")
    assert ran.returncode == 0, ran.stderr
    assert "\x1b" not in ran.stdout
    ended = [line for line in ran.stdout.splitlines() if " done " in line and "units, took" in line]
    assert len([line for line in ended if line.startswith("fake-") and line.split()[1] == "done"]) == 2
