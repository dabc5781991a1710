"""Imports ahead of need: torch and transformers take seconds, which a process that only waits can spend before."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterable
from contextlib import suppress

#: Seconds before the thread begins: at first, whoever is needed first starts on the same cores.
AFTER_S = 10.0
#: What the thread adds to its niceness, so that what works on the same cores goes first.
_NICENESS = 15


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
        self._thread.join()

    def _import(self) -> None:
        # Linux counts niceness by thread; elsewhere it would be that of the whole process.
        if os.uname().sysname == "Linux":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        self._needed.wait(self._after_s)
        for module in self._modules:
            if self._needed.is_set():
                return
            with suppress(Exception):
                importlib.import_module(module)
