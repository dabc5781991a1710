"""Modules are imported before they are needed, by a thread that stands back, and never against their user."""

from __future__ import annotations

import gc
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from arith_shared import ahead, queue
from arith_shared.ahead import ImportsAhead, load


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Names of modules that say how nice the thread is that imports them; the second one is broken."""
    monkeypatch.syspath_prepend(tmp_path)
    names = ["ahead_first", "ahead_broken", "ahead_last"]
    nice = "import os, threading\nnice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())\n"
    for name in names:
        (tmp_path / f"{name}.py").write_text(nice + ("raise RuntimeError" if "broken" in name else ""))
    yield names
    for name in names:
        sys.modules.pop(name, None)


def test_modules_are_imported_by_a_thread_that_stands_back_and_a_broken_one_is_passed_over(modules):
    imports = ImportsAhead(modules, after_s=0)
    imports._thread.join()
    imports.needed()
    assert [name in sys.modules for name in modules] == [True, False, True]
    if sys.platform == "linux":
        assert sys.modules["ahead_first"].nice > os.getpriority(os.PRIO_PROCESS, 0)


AUTOGROUP = Path("/proc/self/autogroup")
WATCHED = """
import sys
from pathlib import Path
from arith_shared.ahead import ImportsAhead
nice = lambda: Path("/proc/self/autogroup").read_text().split()[-1]
Path("watched_first.py").write_text("from __main__ import nice\\nduring = nice()")
sys.path.insert(0, "")
ahead = ImportsAhead(["watched_first"], after_s=0)
ahead._thread.join()
ahead.needed()
import watched_first
print(watched_first.during, nice())
"""


@pytest.mark.skipif(
    not AUTOGROUP.exists(), reason="this kernel does not share the processor between sessions"
)
@pytest.mark.parametrize(("depth", "expected"), [(0, ["10", "0"]), (1, ["10", "0"]), (2, ["0", "0"])])
def test_a_worker_yields_with_its_whole_session_and_never_with_one_that_others_started(
    tmp_path, depth, expected
):
    (tmp_path / "watched.py").write_text(WATCHED)
    command = f"{shlex.quote(sys.executable)} watched.py"
    for _ in range(depth):
        # Something after it, or the shell would become what it starts.
        command = f"sh -c {shlex.quote(command + '; true')}"
    ran = subprocess.run(
        shlex.split(command),
        cwd=tmp_path,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.split() == expected


def test_once_the_thread_is_over_a_unit_costs_no_call_of_the_system(modules, monkeypatch):
    """Without privileges the machine allows ten a second, and a worker may have more units than that."""
    set_to: list[int] = []
    monkeypatch.setattr(ahead, "_yield_to_others", set_to.append)
    imports = ImportsAhead(modules, after_s=0)
    imports._thread.join()
    for _ in range(3):
        imports.needed()
    assert set_to == [10, 0]


def test_who_needs_a_module_in_the_middle_of_imports_leaves_the_session_as_it_was(
    modules, monkeypatch, tmp_path
):
    set_to: list[int] = []
    monkeypatch.setattr(ahead, "_yield_to_others", set_to.append)
    go, begun = tmp_path / "go", tmp_path / "begun"
    waits = (
        "import pathlib, time\n"
        "pathlib.Path({!r}).touch()\n"
        "while not pathlib.Path({!r}).exists(): time.sleep(0.01)\n"
    )
    (tmp_path / "ahead_first.py").write_text(waits.format(str(begun), str(go)))
    imports = ImportsAhead(modules, after_s=0)
    while not begun.exists():
        time.sleep(0.01)
    timer = threading.Timer(0.1, go.touch)
    timer.start()
    imports.needed()
    timer.join()
    assert set_to == [10, 0, 0]
    assert "ahead_last" not in sys.modules


def test_a_module_that_is_needed_before_the_thread_begins_is_left_to_its_user(modules):
    ImportsAhead(modules, after_s=3600).needed()
    assert not set(modules) & set(sys.modules)


@pytest.mark.parametrize(("name", "expected"), [("train", 0), ("extract", 1), ("probe", 1)])
def test_only_a_pool_child_that_waits_for_units_imports_ahead(monkeypatch, name, expected):
    from celery import signals

    receivers = len(signals.worker_process_init.receivers or [])
    monkeypatch.setattr(
        signals.worker_process_init, "receivers", list(signals.worker_process_init.receivers or [])
    )
    queue.on_child_start(queue.make_app("redis://localhost", queue=name, include="x"), lambda: None)
    assert len(signals.worker_process_init.receivers) - receivers == expected


def test_nothing_is_collected_while_a_module_is_imported_and_all_is_as_before_afterwards(modules, tmp_path):
    (tmp_path / "ahead_first.py").write_text("import gc\nwas_on = gc.isenabled()\n")
    frozen = gc.get_freeze_count()
    try:
        assert (load("ahead_first").was_on, gc.isenabled()) == (False, True)
        assert gc.get_freeze_count() > frozen
        with pytest.raises(RuntimeError):
            load("ahead_broken")
        assert gc.isenabled()
    finally:
        gc.unfreeze()


def test_a_module_that_is_there_already_keeps_no_garbage(modules):
    """Or a worker of many units would keep a little more after each."""
    first = load("ahead_first")
    gc.unfreeze()
    assert load("ahead_first") is first
    assert gc.get_freeze_count() == 0


def test_who_had_switched_collection_off_keeps_it_off(modules):
    gc.disable()
    try:
        load("ahead_first")
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
