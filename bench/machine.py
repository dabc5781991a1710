"""The machine, and the floor it sets: matrix products, memory and disk, measured before each bench.

FLOPs over the matrix rate, or bytes over the memory or disk rate, is the time below which nothing can get here.
Rates are the best of several tries: on a shared machine the best is nearest to what the hardware can do.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.provenance import installed as installed
from bench.race import compute_threads

#: What figures depend on most, with peers.
PACKAGES = (
    "torch",
    "numpy",
    "transformers",
    "pyarrow",
    "scikit-learn",
    "datasets",
    "accelerate",
    "lightning",
)
_BF16 = {"avx512_bf16", "amx_bf16"}

#: What `describe` finds.
Machine = dict[str, Any]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def describe(quick: bool) -> Machine:
    """Processor, versions and measured rates: GFLOP/s and GB/s."""
    size, megabytes = (256, 8) if quick else (2048, 512)
    flags = set(_cpuinfo("flags").split())
    return {
        "processor": _cpuinfo("model name"),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "vector": next((name for name in ("avx512f", "avx2") if name in flags), "none"),
        "bf16_instructions": sorted(_BF16 & flags),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
        "gemm_fp32_gflops": {str(count): gemm_rate(size, count) / 1e9 for count in sorted({1, cores()})},
        # Where the processor has no instructions for it, bfloat16 is emulated and takes minutes at full size.
        "gemm_bf16_gflops": {"1": gemm_rate(size if _BF16 & flags else 256, 1, torch.bfloat16) / 1e9},
        "memory_copy_gb_per_s": _memory_rate(megabytes) / 1e9,
        **{name: rate / 1e9 for name, rate in _disk_rates(megabytes).items()},
        "load_average_before": os.getloadavg()[0],
        "utc": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def gemm_rate(size: int, threads: int, dtype: torch.dtype = torch.float32) -> float:
    """FLOP/s of a square matrix product."""
    left = torch.randn(size, size, dtype=dtype)
    with compute_threads(threads):
        return 2 * size**3 / _best(lambda: left @ left)


def _memory_rate(megabytes: int) -> float:
    source = np.ones(megabytes << 17)
    target = np.empty_like(source)
    # Read once, written once.
    return 2 * source.nbytes / _best(lambda: np.copyto(target, source))


def _disk_rates(megabytes: int) -> dict[str, float]:
    """Writing through to the disk, writing to the page cache, and reading from it, in bytes/s."""
    content = np.random.default_rng(0).bytes(megabytes << 20)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"

        def through() -> None:
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

        return {
            "disk_write_fsync_gb_per_s": len(content) / _best(through),
            "disk_write_cached_gb_per_s": len(content) / _best(lambda: path.write_bytes(content)),
            "disk_read_cached_gb_per_s": len(content) / _best(path.read_bytes),
        }


def _best(work: Callable[[], object], tries: int = 3) -> float:
    best = float("inf")
    for _ in range(tries):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _cpuinfo(name: str) -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
