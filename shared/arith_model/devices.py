"""Device, threads and compute dtype: each decision made once, and logged with its reason."""

from __future__ import annotations

import logging
import os
import platform
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import nn

from arith_shared.compute import THREADS_VARIABLE
from arith_shared.vitals import VITALS

#: Set by whoever starts the process; Settings documents it. Read here because handlers know no settings.
COMPILE_VARIABLE = "ARITH_COMPILE"

log = logging.getLogger(__name__)


def choose_device() -> torch.device:
    """The first GPU if there is one, else the processor; with the threads that this worker may use in either case."""
    # From the environment, because handlers know no settings.
    if threads := os.environ.get(THREADS_VARIABLE):
        torch.set_num_threads(int(threads))
    if torch.cuda.is_available():
        log.info("device cuda (%s): a GPU is available", torch.cuda.get_device_name(0))
        VITALS.read_gpu_bytes = torch.cuda.max_memory_allocated
        return torch.device("cuda")
    log.info("device cpu with %d threads: no GPU is available", torch.get_num_threads())
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """What the device is called, for provenance: `NVIDIA H100` or `cpu x86_64, 2 threads`."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"cpu {platform.machine()}, {torch.get_num_threads()} threads"


def compute_dtype(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """A context in which matrix products run in `precision`; weights keep their own dtype."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def compiled(model: nn.Module) -> nn.Module:
    """The model as a training step calls it: compiled where the process was told to, else itself.

    The weights are the same tensors. Each shape of a batch is compiled for itself, so that what a step computes does
    not depend on which shapes this process has seen before.
    """
    mode = os.environ.get(COMPILE_VARIABLE)
    if not mode:
        return model
    log.info("training steps are compiled, mode %s: %s asks for it", mode, COMPILE_VARIABLE)
    # Two shapes for each lesson; a shape beyond the limit, 8 by default, would silently not be compiled.
    torch._dynamo.config.recompile_limit = 64
    return cast(nn.Module, torch.compile(model, mode=mode, dynamic=False))
