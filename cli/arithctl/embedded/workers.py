"""The workers of one machine: the very modules that the containers run, as child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from arith_shared import queue
from arith_shared.settings import Settings
from arithctl.embedded import processes

MODULES = {
    "train": "arith_trainer.worker",
    "extract": "arith_extractor.worker",
    "probe": "arith_prober.worker",
}
#: More probers than this gain nothing on a laptop: they wait for the same memory.
_MAX_PROBERS = 4
#: Seconds that all workers together have to hand their units back before those that have not are killed.
STOP_WITHIN_S = 30.0
#: Seconds before a worker that died is started again; doubles up to a minute while it keeps dying.
_RESTART_S = 1.0
#: Seconds from the start of the workers that have something to do to that of the next, and from each to the next:
#: about what a start takes. All at once, they take the cores from the one that is waited for.
_APART_S = 4.0
#: Embedded runs show live progress and recover fast, so the heartbeat is quicker than between machines.
_EMBEDDED_TIMES = {"ARITH_HEARTBEAT_S": "1", "ARITH_LEASE_S": "20"}


@dataclass(frozen=True, slots=True)
class Slot:
    """One worker process to keep running."""

    queue: str
    name: str
    threads: int


def slots(cores: int) -> list[Slot]:
    """One trainer and one extractor with all cores (stages follow each other), a one-thread prober per core."""
    probers = min(cores, _MAX_PROBERS)
    return [
        Slot("train", "trainer", cores),
        Slot("extract", "extractor", cores),
        *(Slot("probe", f"prober-{number}", max(1, cores // probers)) for number in range(1, probers + 1)),
    ]


class Workers:
    """Starts workers, restarts those that die, and stops them all."""

    def __init__(self, settings: Settings, slots: Sequence[Slot]) -> None:
        """Nothing starts before `start`."""
        self._settings, self._slots = settings, slots
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._start_at = {slot.name: 0.0 for slot in slots}
        self._stopping = threading.Event()
        # The kernel ends children with the thread that started them, so one thread starts and outlives all.
        self._thread = threading.Thread(target=self._supervise, name="workers", daemon=True)

    def start(self, wanted: Collection[str] = ()) -> None:
        """Start all workers and keep them running: at once those of the queues `wanted`, then one by one the others.

        Without any that are wanted, all start at once.
        """
        if wanted:
            others = [slot.name for slot in self._slots if slot.queue not in wanted]
            began = time.monotonic()
            self._start_at |= {name: began + _APART_S * place for place, name in enumerate(others, start=1)}
        self._thread.start()

    def stop_soon(self) -> None:
        """Tell the workers to hand their units back and end."""
        self._stopping.set()

    def stop(self) -> None:
        """Let the workers hand their units back, then end them."""
        self.stop_soon()
        self._thread.join()

    def pids(self) -> dict[str, int]:
        """Process ids by worker name."""
        return {name: process.pid for name, process in self._processes.items()}

    def log_of(self, slot: Slot) -> Path:
        """Where a worker's output goes."""
        return self._settings.home / "logs" / f"{slot.name}.log"

    def _supervise(self) -> None:
        deaths = dict.fromkeys(self._start_at, 0)
        while not self._stopping.is_set():
            for slot in self._slots:
                process = self._processes.get(slot.name)
                if process is not None and process.poll() is not None:
                    del self._processes[slot.name]
                    pause_s = min(60.0, _RESTART_S * 2.0 ** deaths[slot.name])
                    self._start_at[slot.name] = time.monotonic() + pause_s
                    deaths[slot.name] += 1
                elif process is None and time.monotonic() >= self._start_at[slot.name]:
                    self._processes[slot.name] = self._start(slot)
            self._stopping.wait(0.2)
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        give_up = time.monotonic() + STOP_WITHIN_S
        for process in self._processes.values():
            processes.end(process, give_up - time.monotonic())

    def _start(self, slot: Slot) -> subprocess.Popen[bytes]:
        arguments = queue.worker_arguments(MODULES[slot.queue], slot.queue, slot.name)
        threads = str(self._settings.threads or slot.threads)
        # The two belong together: one of ours beside one of the user's might not fit.
        times = {} if self._settings.model_fields_set & {"heartbeat_s", "lease_s"} else _EMBEDDED_TIMES
        env = {
            **times,
            **os.environ,
            # Said in full, so that no worker looks for a stack of its own.
            "ARITH_BROKER_URL": self._settings.broker,
            "ARITH_DATABASE_URL": self._settings.database,
            "ARITH_ARTIFACTS": self._settings.artifact_root,
            "ARITH_HOME": str(self._settings.home.absolute()),
            "ARITH_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "ARITH_COMPILE": self._settings.compile or "",
            # One port cannot serve them all.
            "ARITH_METRICS_PORT": "0",
            "ARITH_WORKER_ID": f"{slot.name}-{uuid.uuid4().hex[:8]}",
        }
        return processes.start([sys.executable, "-m", "celery", *arguments], self.log_of(slot), env)
