"""What happens inside a handler, by name: `{"model": {"call": "harness.mishaps:wait_for", "with": "/a/file"}}`."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from arith_shared.work import Context

_MANY_BYTES = 1 << 30


def wait_for(file: str, context: Context) -> None:
    """Work on until a file appears."""
    while not Path(file).exists():
        context.progress(0.0, 1.0, "files")
        time.sleep(0.02)


def run_out_of_address_space(_: None, context: Context) -> None:
    """Ask for more than this process may have: Python raises a MemoryError."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    in_use = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + _MANY_BYTES // 2, limits[1]))
    try:
        bytearray(_MANY_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def run_out_of_memory(group: str, context: Context) -> None:
    """Enter a memory control group and use more than it may: the kernel kills this process."""
    (Path(group) / "cgroup.procs").write_text("0")
    bytearray(_MANY_BYTES)


def run_out_of_device_memory(_: None, context: Context) -> None:
    """Raise what torch raises when a GPU has no memory left; there is no GPU here to fill."""
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
