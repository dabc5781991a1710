"""Training checkpoints: one safetensors file each, whole or not there at all.

A checkpoint's name carries its step and the checksum of its bytes, so a truncated or altered one is
recognised without a second file, and the newest good one is used. It holds everything that the next step
depends on: weights, optimiser state, and the step, from which the data order and the dropout masks follow.

A folder may have several writers for a while (an attempt that does not know yet that it lost its lease): no
file is ever changed in place, and one that another writer removed meanwhile is no error.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

_NAME = re.compile(r"step-(\d{9})-([0-9a-f]{32})\.safetensors")
#: Checkpoints that stay on disk: the newest, and one to fall back on.
_KEPT = 2
#: Seconds after which an unfinished file belongs to a writer that was killed; writing takes seconds.
_ABANDONED_S = 3600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete state of training between two steps."""

    #: Steps done.
    step: int
    tensors: Mapping[str, Tensor]
    #: JSON facts that go with it, such as the training log so far.
    facts: Mapping[str, Any]


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write atomically and durably; older ones beyond the last two are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{secrets.token_hex(8)}.part"
    try:
        save_file(dict(checkpoint.tensors), temporary, metadata={"facts": json.dumps(checkpoint.facts)})
        digest = _digest(temporary)
        path = folder / f"step-{checkpoint.step:09d}-{digest}.safetensors"
        _flush(temporary)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    _prune(folder)
    return path


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is what its name says, or None; damaged ones are passed over with a warning."""
    for step, digest, path in _newest_first(folder):
        try:
            if _digest(path) == digest:
                with safe_open(path, framework="pt") as file:
                    facts = json.loads(file.metadata()["facts"])
                return Checkpoint(step, load_file(path), facts)
        except FileNotFoundError:
            continue
        log.warning("%s: does not match its checksum, using an older checkpoint", path)
    return None


def gather(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of all tensors of a model and its optimiser under flat names, on the CPU."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": tensor for name, tensor in state.items()}
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def scatter(tensors: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put back what `gather` took."""
    weights: dict[str, Tensor] = {}
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        owner, name = path.split("/", 1)
        if owner == "model":
            weights[name] = tensor
        else:
            index, field = name.split("/")
            state.setdefault(int(index), {})[field] = tensor
    model.load_state_dict(weights)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _prune(folder: Path) -> None:
    for _, _, old in list(_newest_first(folder))[_KEPT:]:
        old.unlink(missing_ok=True)
    for unfinished in folder.glob(".*.part"):
        with suppress(FileNotFoundError):
            if time.time() - unfinished.stat().st_mtime > _ABANDONED_S:
                unfinished.unlink()


def _newest_first(folder: Path) -> Iterator[tuple[int, str, Path]]:
    for path in sorted(folder.glob("step-*"), reverse=True):
        if match := _NAME.fullmatch(path.name):
            yield int(match[1]), match[2], path
