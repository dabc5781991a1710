"""Training checkpoints: one safetensors file each, whole or not there at all.

A checkpoint's name carries its step and the checksum of its bytes, so a truncated or altered one is
recognised without a second file, and the newest good one is used. It holds everything that the next step
depends on: weights, optimiser state, and the step, from which the data order and the dropout masks follow.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

_NAME = re.compile(r"step-(\d{9})-([0-9a-f]{32})\.safetensors")
#: Checkpoints that stay on disk: the newest, and one to fall back on.
_KEPT = 2

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
    data = save(dict(checkpoint.tensors), metadata={"facts": json.dumps(checkpoint.facts)})
    digest = hashlib.sha256(data).hexdigest()[:32]
    path = folder / f"step-{checkpoint.step:09d}-{digest}.safetensors"
    temporary = folder / f".{secrets.token_hex(8)}.part"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    for _, _, old in list(_newest_first(folder))[_KEPT:]:
        old.unlink()
    return path


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is what its name says, or None; damaged ones are passed over with a warning."""
    for step, digest, path in _newest_first(folder):
        if hashlib.sha256(path.read_bytes()).hexdigest()[:32] != digest:
            log.warning("%s: does not match its checksum, using an older checkpoint", path)
            continue
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            return Checkpoint(step, {name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
    return None


def gather(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors of a model and its optimiser under flat names, on the CPU."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": tensor for name, tensor in state.items()}
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def scatter(tensors: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put back what `gather` took."""
    model.load_state_dict({name.removeprefix("model/"): t for name, t in tensors.items() if name[0] == "m"})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, field = name.split("/")
            state.setdefault(int(index), {})[field] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _newest_first(folder: Path) -> Iterator[tuple[int, str, Path]]:
    found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    for match, path in sorted(found, key=lambda item: item[1].name, reverse=True):
        yield int(match[1]), match[2], path
