"""Cases of a section, run within its time: one that fails or comes too late costs none of the others."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch

Row = dict[str, Any]
Case = tuple[str, Callable[[], Row]]

OK, NOT_REACHED = "ok", "not reached: the section's time was over"


class LeftOutError(Exception):
    """Raised by a case that cannot be run here, with the reason."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What the sections are run on."""

    device: torch.device
    #: Sizes that a processor does in seconds: shows that it works, measures nothing.
    quick: bool
    #: Where files of a case may lie.
    folder: Path

    @property
    def on_gpu(self) -> bool:
        """Whether there is something to be waited for."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done all it was told to."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def timed(self, work: Callable[[], object]) -> float:
        """Seconds of one call, the device waited for."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def best(self, work: Callable[[], object], rounds: int = 5) -> float:
        """Seconds of a call that is short: repeated for a tenth of a second, the best of some rounds."""
        once = min(self.timed(work), self.timed(work))
        calls = 1 if self.quick else max(1, min(1_000, int(0.1 / max(once, 1e-6))))

        def repeated() -> None:
            for _ in range(calls):
                work()

        return min(self.timed(repeated) for _ in range(1 if self.quick else rounds)) / calls

    def peak_gb(self) -> Row:
        """The largest memory of the device that was in use since the case began."""
        return {"peak GB": torch.cuda.max_memory_allocated() / 1e9} if self.on_gpu else {}


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """`highest` computes float32 products in float32, `high` lets a GPU use TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def run_cases(bench: Bench, cases: Sequence[Case], until: float, rows: TextIO) -> None:
    """Run what can be begun before `until`, in monotonic seconds.

    Each row is a JSON line; the last one of a case counts.
    """
    for name, _ in cases:
        _write(rows, {"case": name, "status": NOT_REACHED})
    for name, run in cases:
        if time.monotonic() > until:
            break
        _write(rows, {"case": name, "status": "stopped: the section's time was over"})
        row = {"case": name, **_attempt(bench, run)}
        _write(rows, row)
        sys.stdout.write(f"  {one_line(row)}\n")
        sys.stdout.flush()


def _attempt(bench: Bench, run: Callable[[], Row]) -> Row:
    try:
        if bench.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        return {"status": OK, **run()}
    except LeftOutError as error:
        return {"status": f"left out: {error}"}
    # Out of memory, no compiler, a library that has changed: whatever it is, the other cases are still worth having.
    except Exception as error:  # noqa: BLE001
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        return {"status": f"failed: {type(error).__name__}: {first[:200]}"}
    finally:
        gc.collect()
        if bench.on_gpu:
            torch.cuda.empty_cache()


def _write(rows: TextIO, row: Row) -> None:
    rows.write(json.dumps(row) + "\n")
    rows.flush()


def one_line(row: Row) -> str:
    """``eager: 123,456 tokens/s, ...``"""
    figures = ", ".join(
        f"{shown(value)} {name}" for name, value in row.items() if name not in ("case", "status", "against")
    )
    return f"{row['case']}: {figures if row['status'] == OK else row['status']}"


def shown(value: Any) -> str:
    """A figure with three digits that count."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
