"""Modules are imported before they are needed, by a thread that stands back, and never against their user."""

from __future__ import annotations

import gc
import os
import sys

import pytest

from arith_shared import queue
from arith_shared.ahead import ImportsAhead, uncollected


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
    ahead = ImportsAhead(modules, after_s=0)
    ahead._thread.join()
    ahead.needed()
    assert [name in sys.modules for name in modules] == [True, False, True]
    if sys.platform == "linux":
        assert sys.modules["ahead_first"].nice > os.getpriority(os.PRIO_PROCESS, 0)


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
        with uncollected():
            import ahead_first
        assert (ahead_first.was_on, gc.isenabled()) == (False, True)
        assert gc.get_freeze_count() > frozen
        with pytest.raises(RuntimeError), uncollected():
            import ahead_broken  # noqa: F401
        assert gc.isenabled()
    finally:
        gc.unfreeze()


def test_who_had_switched_collection_off_keeps_it_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
