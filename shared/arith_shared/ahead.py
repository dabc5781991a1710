"""Imports ahead of need: torch and transformers take seconds, which a process that only waits can spend before."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

#: Seconds before the thread begins: a message that waits already comes first.
AFTER_S = 1.0
#: What the thread adds to its niceness, so that what works on the same cores goes first.
_NICENESS = 10
_AUTOGROUP = Path("/proc/self/autogroup")
#: How often a change of the session's niceness is tried that was refused as one too many.
_TRIES = 20


def load(name: str) -> ModuleType:
    """Import a module, with no garbage collection meanwhile if it is new.

    Imports make a million objects that all stay. Looking through them again and again is a fifth of the time that
    torch and transformers take to import. What is there at the end is not looked at by later collections either; so
    never for a module that is there already, or what is garbage by then would stay too.
    """
    if name in sys.modules:
        return importlib.import_module(name)
    was_on = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


class ImportsAhead:
    """Modules that a thread will import unless they are needed before; errors are left to whoever needs them."""

    def __init__(self, modules: Iterable[str], after_s: float = AFTER_S) -> None:
        """The thread begins after `after_s` seconds, and ends with the process."""
        self._modules = list(dict.fromkeys(modules))
        self._after_s, self._needed = after_s, threading.Event()
        self._thread = threading.Thread(target=self._import, name="imports", daemon=True)
        self._thread.start()

    def needed(self) -> None:
        """Call it before a module is used: from here on nothing more is imported by the thread.

        What it has begun it ends, since threads must not import in a circle at the same time.
        """
        self._needed.set()
        # Asked before each unit: once the thread is over there is nothing to take back.
        if self._thread.is_alive():
            _yield_to_others(0)
            self._thread.join()

    def _import(self) -> None:
        # Linux counts niceness by thread; elsewhere it would be that of the whole process.
        if os.uname().sysname == "Linux":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        if self._needed.wait(self._after_s):
            return
        # Before the first look at `_needed`, so that who sets it meanwhile takes this back.
        _yield_to_others(_NICENESS)
        for module in self._modules:
            if self._needed.is_set():
                break
            with suppress(Exception):
                load(module)
        _yield_to_others(0)


def _yield_to_others(niceness: int) -> None:
    """Set the niceness of our session, where Linux shares the processor between sessions (sched(7), autogroup).

    A thread's own then counts only among its session's. A session that others started is left alone: it may be the
    terminal that somebody works in.
    """
    if os.getsid(0) not in (os.getpid(), os.getppid()):
        return
    for _ in range(_TRIES):
        try:
            _AUTOGROUP.write_text(str(niceness))
        except BlockingIOError:
            # Without privileges one such call a tenth of a second is allowed, on the whole machine.
            time.sleep(0.1)
        except OSError:
            return
        else:
            return
