"""The floor: how fast the device multiplies matrices, and how fast bytes come to it, from it and to the disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

import torch

from bench.gpu_sections.cases import Bench, Case, Row, float32_products

#: Square products, by the name under which later sections refer to them: dtype, precision of float32, size.
GEMMS = {
    "float32": (torch.float32, "highest", 8192),
    "tf32": (torch.float32, "high", 8192),
    "bfloat16": (torch.bfloat16, "highest", 8192),
    "float64": (torch.float64, "highest", 4096),
}


def cases(bench: Bench) -> list[Case]:
    """Products, copies, and the disk that extraction writes to."""
    megabytes = 4 if bench.quick else 1024
    products: list[Case] = [(f"GEMM {name}", partial(_gemm, bench, name)) for name in GEMMS]
    copies: list[Case] = [
        (f"copy {way}, {memory}", partial(_copy, bench, megabytes, way, memory))
        for way in ("to the device", "from the device")
        for memory in ("pinned", "pageable")
    ]
    return [
        *products,
        *copies,
        ("copy within the device", partial(_within, bench, megabytes)),
        ("write to the disk", partial(_disk, bench, megabytes)),
    ]


def _gemm(bench: Bench, name: str) -> Row:
    dtype, precision, size = GEMMS[name]
    size = 128 if bench.quick else size
    left, right = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
    with float32_products(precision):
        return {"TFLOP/s": 2 * size**3 / bench.best(lambda: left @ right) / 1e12, "size": size}


def _copy(bench: Bench, megabytes: int, way: str, memory: str) -> Row:
    host = torch.ones(megabytes << 20, dtype=torch.uint8)
    if memory == "pinned" and bench.on_gpu:
        host = host.pin_memory()
    there = torch.ones_like(host, device=bench.device)
    work: Callable[[], object] = (
        (lambda: there.copy_(host, non_blocking=True))
        if way == "to the device"
        else (lambda: host.copy_(there, non_blocking=True))
    )
    return {"GB/s": host.numel() / bench.best(work) / 1e9, "MB": megabytes}


def _within(bench: Bench, megabytes: int) -> Row:
    source = torch.ones(megabytes << 20, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    # Read once, written once.
    return {"GB/s": 2 * source.numel() / bench.best(lambda: target.copy_(source)) / 1e9, "MB": megabytes}


def _disk(bench: Bench, megabytes: int) -> Row:
    content, path = os.urandom(1 << 20), bench.folder / "rate"
    start = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(content)
        cached = time.perf_counter() - start
        file.flush()
        os.fsync(file.fileno())
    through = time.perf_counter() - start
    path.unlink()
    nbytes = megabytes << 20
    return {"GB/s": nbytes / through / 1e9, "GB/s to the page cache": nbytes / cached / 1e9, "MB": megabytes}
