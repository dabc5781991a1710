"""Probe families, one file each, by the name that a spec gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from arith_prober.probes.family import Family, Pulse
from arith_prober.probes.mlp import Mlp
from arith_prober.probes.ridge import Ridge

if TYPE_CHECKING:
    from arith_shared.specs import ProbeSpec

__all__ = ["FAMILIES", "Family", "Mlp", "Pulse", "Ridge"]

FAMILIES: dict[str, Callable[[ProbeSpec, torch.device], Family]] = {
    "mlp": lambda probe, device: Mlp(
        probe.mlp.epochs, probe.mlp.lr, device, probe.mlp.dtype, together=device.type != "cpu"
    ),
    "ridge": lambda probe, device: Ridge(probe.ridge.penalties, device),
}
